// A call of Moleculer between two processes; `calls_moleculer.py` starts it.
// `calls_moleculer.js NODE_MODULES serve TRANSPORTER`, `... ask TRANSPORTER TAGS SECONDS PID...`, PIDs of whom it costs, too.
"use strict";
const assert = require("node:assert");
const fs = require("node:fs");
const [modules, role, transporter, tags, seconds, ...pids] = process.argv.slice(2);
const { ServiceBroker } = require(modules + "/moleculer");
const IN_FLIGHT = 64;
const WARM_UP_SECONDS = 0.3;
const params = { number: "number", customer: "string", tags: { type: "array", items: "string" }, amount: "number" };
const url = transporter.startsWith("{") ? JSON.parse(transporter) : transporter;
const broker = new ServiceBroker({ nodeID: role, logger: false, transporter: url, requestTimeout: 10000 });

// Seconds of CPU of another process.
function spent(pid) {
	const tasks = fs.readdirSync(`/proc/${pid}/task`);
	const used = tasks.map(task => Number(fs.readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]));
	return used.reduce((sum, one) => sum + one, 0) / 1e9;
}

async function crowd(order, seconds) {
	const end = performance.now() + 1000 * seconds;
	let done = 0;
	async function work() {
		for (; performance.now() < end; done++) await broker.call("desk.check", order);
	}
	await Promise.all(Array.from({ length: IN_FLIGHT }, work));
	return done;
}

async function serve() {
	broker.createService({ name: "desk", actions: { check: { params, handler: context => context.params } } });
	await broker.start();
	console.log("ready");
}

async function ask() {
	const order = { number: 123456, customer: "Ada Lovelace, London", tags: JSON.parse(tags), amount: 1234.56 };
	await broker.start();
	await broker.waitForServices("desk", 15000);
	assert.deepStrictEqual(await broker.call("desk.check", order), order);
	await assert.rejects(broker.call("desk.check", { ...order, number: "many" }), /validation/i);
	await crowd(order, WARM_UP_SECONDS);
	const before = pids.map(spent), used = process.cpuUsage(), began = performance.now();
	const done = await crowd(order, Number(seconds));
	const took = (performance.now() - began) / 1000;
	const { user, system } = process.cpuUsage(used);
	const theirs = pids.map((pid, at) => ((spent(pid) - before[at]) / done) * 1e6);
	const caller_us = (user + system) / done;
	const [server_us, broker_us] = theirs;
	const cpu_us = theirs.reduce((sum, one) => sum + one, caller_us);
	console.log(JSON.stringify({ cpu_us, caller_us, server_us, ...(pids.length > 1 && { broker_us }), per_second: done / took }));
	process.exit(0);
}

(role === "serve" ? serve() : ask()).catch(error => {
	console.error(error);
	process.exit(1);
});
