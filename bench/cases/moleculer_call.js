// A local call of Moleculer, with validated parameters: `moleculer_call.js NODE_MODULES call|plain SECONDS`.
"use strict";
const assert = require("node:assert");
const [modules, which, seconds] = process.argv.slice(2);
const order = { number: 123456, customer: "Ada Lovelace, London", tags: ["tea", "gift", "fragile"], amount: 1234.56 };
const params = { number: "number", customer: "string", tags: { type: "array", items: "string" }, amount: "number" };

async function operation() {
	if (which === "plain") {
		const check = async given => given;
		return () => check(order);
	}
	const { ServiceBroker } = require(modules + "/moleculer");
	const broker = new ServiceBroker({ logger: false });
	broker.createService({ name: "desk", actions: { check: { params, handler: context => context.params } } });
	await broker.start();
	await assert.rejects(broker.call("desk.check", { ...order, number: "many" }), /validation/i);
	return () => broker.call("desk.check", order);
}

async function main() {
	const call = await operation();
	const costs = [];
	const begin = performance.now() + 500;
	for (let now = performance.now(); now < begin + 1000 * seconds; now = performance.now()) {
		const used = process.cpuUsage();
		for (let done = 0; done < 5000; done++) await call();
		const { user, system } = process.cpuUsage(used);
		if (now >= begin) costs.push((user + system) / 5000);
	}
	costs.sort((one, other) => one - other);
	console.log(JSON.stringify({ cpu_us: costs[costs.length >> 1] }));
	process.exit(0);
}

main();
