"""Orders and charges on Celery, as its documents recommend for work that may not be lost: `acks_late`, RabbitMQ.

An order is committed, and then its charge is asked for; there is no outbox. The worker runs in one process, so that
what kills it is what kills the task.
"""

import sys

import psycopg
from celery import Celery
from trap import BROKER, DATABASE, passed

app = Celery("shop", broker=BROKER)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_default_queue="charges",
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    confirm_publish=True,
    broker_transport_options={"confirm_publish": True},
)
connection = psycopg.connect(DATABASE, autocommit=True)


@app.task(name="charge")
def charge(order: int) -> None:
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO charges (shop_order) VALUES (%s)", (order,))
        passed("handler.before_commit")
    passed("handler.after_commit")


def place(order: int) -> None:
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO orders VALUES (%s) ON CONFLICT DO NOTHING", (order,))
        if not cursor.rowcount:
            return  # somebody asks again for what was done
    passed("order.after_commit")
    charge.delay(order)


if __name__ == "__main__":
    if sys.argv[1] == "work":
        app.worker_main(["worker", "--pool=solo", "--loglevel=ERROR", "--without-mingle", "--without-gossip"])
    for order in range(int(sys.argv[2])):
        place(order)
