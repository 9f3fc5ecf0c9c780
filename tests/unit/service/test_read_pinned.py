"""What a handler writes rests on what it read: who changes that meanwhile makes it a conflict, never a lost update."""

import pytest

from hanse import App, Collection, Conflict, Node, Resource, Service, rpc


class Account(Resource):
    balance: int = 0


class Bank(Service):
    accounts: Collection[Account]

    @rpc
    async def open(self, id: str) -> None:
        await self.accounts.create(Account(id=id, balance=10))

    @rpc
    async def deposit_meanwhile(self, id: str, how: str) -> int:
        if how == "find":
            (account,) = (await self.accounts.find()).items
        else:
            account = await self.accounts.get(id)
        await self.others.deposit(id)
        if how == "put":
            await self.accounts.put(Account(id=id, balance=account.balance + 1))
        else:
            await self.accounts.patch(id, balance=account.balance + 1)
        return account.balance + 1

    @rpc
    async def look_twice(self, id: str) -> int:
        _ = await self.accounts.get(id)
        await self.others.deposit(id)
        account = await self.accounts.get(id)
        return (await self.accounts.patch(id, balance=account.balance + 1)).balance

    @rpc
    async def make_unless_there(self, id: str) -> None:
        if await self.accounts.count(lambda account: account.balance == -1):
            return
        with pytest.raises(Exception, match=id):
            await self.accounts.get(id)
        await self.others.open_one(id)
        await self.accounts.put(Account(id=id, balance=99))

    others: "Others"


class Others(Service):
    accounts: Collection[Account]

    @rpc
    async def deposit(self, id: str) -> None:
        account = await self.accounts.get(id)
        await self.accounts.patch(id, balance=account.balance + 100)

    @rpc
    async def open_one(self, id: str) -> None:
        await self.accounts.create(Account(id=id))


class OwningBank(Bank, owns=(Account,), name="bank"):
    pass


app = App("bank", OwningBank, Others)


@pytest.mark.parametrize("how", ["get", "find", "put"])
async def test_a_write_that_rests_on_an_old_read_is_a_conflict(how: str) -> None:
    async with Node(app) as node:
        bank = node.client(OwningBank)
        await bank.open("a")
        with pytest.raises(Conflict):
            await bank.deposit_meanwhile("a", how)
        assert (await node.collection(Account).get("a")).balance == 110


async def test_a_row_may_be_read_again_and_then_written() -> None:
    async with Node(app) as node:
        bank = node.client(OwningBank)
        await bank.open("a")
        assert await bank.look_twice("a") == 111


async def test_what_was_not_there_may_not_be_there_when_it_is_put() -> None:
    async with Node(app) as node:
        with pytest.raises(Conflict):
            await node.client(OwningBank).make_unless_there("new")
        assert (await node.collection(Account).get("new")).balance == 0
