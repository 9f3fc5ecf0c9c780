from hanse import Service, rpc


class Greeter(Service):
    @rpc
    async def hello(self, name: str) -> str:
        return f"Hello, {name}!"
