from __future__ import annotations

import pytest

from hanse.control.desired import Command, Desired, Part, Parts, Probe, Runs, Seat, desired_of, filled
from hanse.kernel.faults import Misconfigured
from hanse.kernel.settings import GatewaySettings, HealthSettings, ServiceSettings, Settings

RUNS = Runs(("python", "-m", "hanse"), "unix:run", "/srv/shop")
SHOP = Parts("shop:app", (Part("orders", ("stock",)), Part("stock")), gateway=True)
NONE = Parts("")


def of(parts: Parts = NONE, **services: ServiceSettings) -> dict[str, Desired]:
    return desired_of(Settings(services=services), parts, RUNS)


def refused(parts: Parts = NONE, **services: ServiceSettings) -> str:
    with pytest.raises(Misconfigured) as caught:
        of(parts, **services)
    return str(caught.value)


def at(command: Command, **variables: str) -> tuple[str, ...]:
    return filled(command, Seat("web-1", "127.0.0.1", 8123, "1.5", variables)).arguments


def test_a_service_that_nobody_can_start_is_refused_with_what_was_probably_meant() -> None:
    told = refused(SHOP, order=ServiceSettings())
    assert told == (
        "services.order: expected a service of the app, or a `command` that starts it; did you mean orders?"
    )


def test_an_unknown_need_is_refused_with_what_was_probably_meant() -> None:
    told = refused(web=ServiceSettings(command="x", needs=("apis",)), api=ServiceSettings(command="y"))
    assert told == "services.web.needs: unknown 'apis'; did you mean api?"
    assert refused(web=ServiceSettings(command="x", needs=("mail",))).endswith("unknown 'mail'; there are web")


def test_needs_in_a_circle_are_refused_by_name() -> None:
    told = refused(a=ServiceSettings(command="x", needs=("b",)), b=ServiceSettings(command="x", needs=("a",)))
    assert "a -> b -> a" in told or "b -> a -> b" in told


@pytest.mark.parametrize(
    ("service", "told"),
    [
        (ServiceSettings(command="x 'y"), "No closing quotation"),
        (ServiceSettings(command="  "), "expected a command"),
        (ServiceSettings(command="x", port=5000, instances=2), "expected one instance, as it insists on port 5000"),
        (ServiceSettings(command="x", instances=1_001), "expected at most 1000"),
    ],
)
def test_what_cannot_run_is_refused(service: ServiceSettings, told: str) -> None:
    assert told in refused(web=service)


def test_services_of_the_app_believe_the_edge_and_whom_they_believed_before() -> None:
    trusting = Settings(gateway=GatewaySettings(trusted_proxies=("10.0.0.0/8",), forcing=("10.9.9.9",)))
    environment = desired_of(trusting, SHOP, RUNS)["orders"].command.environment
    assert environment["HANSE_GATEWAY__TRUSTED_PROXIES"] == "127.0.0.1,10.0.0.0/8"
    assert environment["HANSE_GATEWAY__FORCING"] == "127.0.0.0/8,::1/128,10.9.9.9"


@pytest.mark.parametrize("name", ["../web", "my web", "", "-x", "x" * 64])
def test_a_name_that_is_no_name_of_a_file_is_refused(name: str) -> None:
    with pytest.raises(Misconfigured, match="expected a name of letters, digits, - and _"):
        desired_of(Settings(services={name: ServiceSettings(command="x")}), NONE, RUNS)


def test_a_service_of_the_app_takes_no_command() -> None:
    assert "expected no command" in refused(SHOP, orders=ServiceSettings(command="x"))


def test_whoever_is_needed_comes_first() -> None:
    assert list(of(SHOP)) == ["stock", "orders", "gateway"]
    assert of(SHOP)["gateway"].needs == ("orders", "stock")


def test_services_of_the_app_are_run_each_by_itself() -> None:
    found = of(SHOP, stock=ServiceSettings(instances=2))["stock"]
    assert found.own
    assert found.instances == 2
    assert found.probe.path == "/readyz"
    assert at(found.command)[3:] == ("run", "shop:app", "--services", "stock", "--port", "8123", *TRANSPORT)


TRANSPORT = ("--transport", "unix:run")


def test_a_foreign_service_is_its_command_in_its_folder() -> None:
    found = of(web=ServiceSettings(command="serve --at '{host}:{port}' --as {instance}", directory="../web"))["web"]
    assert at(found.command) == ("serve", "--at", "127.0.0.1:8123", "--as", "web-1")
    assert found.command.directory == "/srv/shop/../web"
    assert found.probe == Probe("/")


def test_what_only_a_shell_understands_is_given_to_one() -> None:
    found = of(web=ServiceSettings(command="cd web && serve $PORT"))["web"]
    assert found.command.shell
    assert at(found.command) == ("/bin/sh", "-c", "cd web && serve $PORT")


def test_other_braces_and_unknown_variables_stay_as_they_are() -> None:
    assert at(Command(("awk", "{print $1}", "$NOBODY", "${PORT}"))) == ("awk", "{print $1}", "$NOBODY", "8123")


def test_environment_is_filled_in_and_wins() -> None:
    command = Command(("x",), environment={"URL": "db://${USER}@{host}", "USER": "other"})
    found = filled(command, Seat("web-1", "::1", 80, "1.5", {"USER": "ada", "PATH": "/bin"}))
    assert found.environment == {
        "URL": "db://ada@::1",
        "USER": "other",
        "PATH": "/bin",
        "HOST": "::1",
        "PORT": "80",
        "HANSE_INSTANCE": "web-1",
        "HANSE_RELEASE": "1.5",
    }


def test_a_variable_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(Misconfigured, match=r"environment.URL: there is no variable SECRET; set it"):
        at(Command(("x",), environment={"URL": "${SECRET}"}))


def test_health_is_a_path_or_a_table_and_nothing_is_asked_of_who_answers_nobody() -> None:
    assert of(web=ServiceSettings(command="x", health="/up"))["web"].probe == Probe("/up")
    table = HealthSettings(path="/up", interval=1.0, rise=2)
    assert of(web=ServiceSettings(command="x", health=table))["web"].probe == Probe("/up", 1.0, rise=2)
    assert of(web=ServiceSettings(command="x", protocol="none"))["web"].probe.path == ""


def test_what_it_is_started_from_tells_builds_apart() -> None:
    one, same, other = (of(web=ServiceSettings(command=text))["web"] for text in ("x", "x", "y"))
    assert one.build == same.build != other.build
    assert of(web=ServiceSettings(command="x", instances=3))["web"].build == one.build


def test_resources_come_before_who_needs_them() -> None:
    settings = Settings(services={"web": ServiceSettings(command="x", needs=("db",))})
    assert list(desired_of(settings, NONE, RUNS, [Desired("db", Command(("postgres",)))])) == ["db", "web"]


@pytest.mark.parametrize(
    ("service", "told"),
    [
        (ServiceSettings(image="--privileged"), "image: expected an image, such as registry/web:1.4, got '--priv"),
        (ServiceSettings(image="web:1", port=80, own_network=True), "own_network: expected nothing of networks beside"),
        (ServiceSettings(image="web:1", reaches=(5432,)), "own_network: expected nothing of networks beside `image`"),
        (
            ServiceSettings(command="x", container_arguments=("--rm",)),
            "container_arguments: expected an `image` beside",
        ),
        (ServiceSettings(image="web:1", command="'x"), r"command: No closing quotation"),
    ],
)
def test_what_makes_no_sense_of_an_image_is_told(service: ServiceSettings, told: str) -> None:
    with pytest.raises(Misconfigured, match=rf"services\.web\.{told}"):
        _ = desired_of(Settings(services={"web": service}), NONE, RUNS)


def test_a_service_of_the_app_has_no_image() -> None:
    with pytest.raises(Misconfigured, match=r"services\.orders\.image: expected a foreign service"):
        _ = of(SHOP, orders=ServiceSettings(image="orders:1"))


def test_an_image_does_by_itself_what_it_does_and_may_have_many_instances_at_its_port() -> None:
    found = of(NONE, web=ServiceSettings(image="web:1", port=80, instances=3))["web"]
    assert (found.command.line, found.command.shell, found.port, found.inner) == ((), False, 0, 80)
    told = of(NONE, web=ServiceSettings(image="web:1", command="sh -c 'a && b'"))["web"]
    assert (told.command.line, told.command.shell, told.inner) == (("sh", "-c", "a && b"), False, 0)
