// A page that listens to /api/v1/stream with the browser's own EventSource.
//
//   NODE_PATH=FOLDER/node_modules node eventsource.js ORIGIN
//
// Prints `open` each time it is connected, and each event as a line of JSON, until it is ended.

const { chromium } = require('playwright-core');

async function main(origin) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
  });
  process.on('SIGTERM', () => browser.close().then(() => process.exit(0)));
  const page = await browser.newPage();
  await page.exposeFunction('say', (line) => console.log(line));
  // Any page of the daemon will do: the stream is of the same origin.
  await page.goto(`${origin}/livez`);
  await page.evaluate(() => {
    const source = new EventSource('/api/v1/stream');
    source.onopen = () => window.say('open');
    source.onmessage = (event) =>
      window.say(JSON.stringify({ id: event.lastEventId, flow: JSON.parse(event.data) }));
  });
  await new Promise(() => {});
}

main(process.argv[2]).catch((error) => {
  console.error(error);
  process.exit(1);
});
