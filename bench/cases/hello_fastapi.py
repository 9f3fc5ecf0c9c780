"""Hello, world, in FastAPI."""

from fastapi import FastAPI

app = FastAPI()


@app.get("/livez")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/hello")
async def hello(name: str) -> str:
    return f"Hello, {name}!"
