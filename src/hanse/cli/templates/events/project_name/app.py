"""The services composed, and what others may see of them."""

from hanse import App, Gateway

from project_name.contracts import Order, Orders
from project_name.letters import Letter, Letters
from project_name.orders import OrderService

gateway = Gateway()
gateway.rpc(Orders)
gateway.resources(Order, path="/orders", write=False)
gateway.resources(Letter, path="/letters", write=False)

app = App("project-name", OrderService, Letters, gateway=gateway)
