// Sends three lines with one JavaScript client, unmodified: node send.cjs CLIENT URL TOKEN
// Found through NODE_PATH; each client is set up as its own documentation says.
"use strict";
const [client, url, token] = process.argv.slice(2);
const lines = [0, 1, 2].map((n) => `order ${n} cancelled`);
const winston = () => require("winston");

function logger(transport) {
  const made = winston().createLogger({ level: "info", transports: [transport] });
  for (const line of lines) made.info(line, { user: "anna" });
  return made;
}

async function otlp(module_) {
  const { LoggerProvider, BatchLogRecordProcessor } = require("@opentelemetry/sdk-logs");
  const { OTLPLogExporter } = require(module_);
  const exporter = new OTLPLogExporter({ url: `${url}/v1/logs`, headers: { Authorization: `Bearer ${token}` } });
  const provider = new LoggerProvider({ processors: [new BatchLogRecordProcessor({ exporter })] });
  for (const body of lines) provider.getLogger("shop").emit({ severityNumber: 9, body, attributes: { user: "anna" } });
  await provider.shutdown();
}

const clients = {
  async elasticsearch() {
    const { Client } = require("@elastic/elasticsearch");
    const made = new Client({ node: url, auth: { username: "muniment", password: token } });
    const answer = await made.bulk({ operations: lines.flatMap((message) => [{ create: { _index: "audit" } }, { message }]) });
    if (answer.errors) throw new Error(JSON.stringify(answer));
    await made.close();
  },
  async "winston-elasticsearch"() {
    const { ElasticsearchTransport } = require("winston-elasticsearch");
    const transport = new ElasticsearchTransport({
      level: "info", indexPrefix: "audit", flushInterval: 100,
      clientOpts: { node: url, auth: { username: "muniment", password: token } },
    });
    transport.on("error", (error) => { throw error; });
    logger(transport);
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await transport.flush();
  },
  async "winston-splunk-httplogger"() {
    const Splunk = require("winston-splunk-httplogger");
    const transport = new Splunk({ splunk: { token, url }, level: "info" });
    logger(transport);
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await transport.server.flushAsync?.();
  },
  async "winston-loki"() {
    const Loki = require("winston-loki");
    const transport = new Loki({ host: url, basicAuth: `x:${token}`, batching: false, labels: { app: "shop" } });
    logger(transport);
    await new Promise((resolve) => setTimeout(resolve, 500));
    await transport.flush();
  },
  "otlp-json": () => otlp("@opentelemetry/exporter-logs-otlp-http"),
  "otlp-proto": () => otlp("@opentelemetry/exporter-logs-otlp-proto"),
};

clients[client]().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
