// A browser, driven by lines of JSON: each has `act` and gets one line with `value` or `error`. It ends when the input ends.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { chromium } from 'playwright-core'

const PATIENCE = 15_000
const AXE = readFileSync(createRequire(`${process.cwd()}/`).resolve('axe-core/axe.min.js'), 'utf8')

// Whoever is root has no sandbox. No name but those of this machine is looked up, since providers' pages may load fonts.
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ['--no-sandbox', '--disable-dev-shm-usage', '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost , EXCLUDE 127.0.0.*'],
})
let page, context
const complaints = []
let caught
// Where the page went, or tried to go.
const ways = []

const later = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))

// The visible text, also between two pages, where there is none.
const text = () => Promise.race([page.evaluate(() => document.body?.innerText ?? '').catch(() => ''), later(1000).then(() => '')])

async function until(what, holds) {
  const end = Date.now() + PATIENCE
  while (Date.now() < end) {
    if (await holds()) return
    await later(25)
  }
  throw new Error(`${what} did not come; ${page.url()} shows:\n${await text()}`)
}

// Does something else than to send the next request to a URL that begins like this. The routes of playwright see no redirects.
async function once(prefix, instead) {
  const session = await context.newCDPSession(page)
  let isDone = false
  session.on('Fetch.requestPaused', async ({ requestId, request }) => {
    if (isDone) return session.send('Fetch.continueRequest', { requestId })
    isDone = true
    await instead(session, requestId, new URL(request.url))
  })
  await session.send('Fetch.enable', { patterns: [{ urlPattern: `${prefix}*` }] })
}

const acts = {
  // Begins anew, without any cookie.
  async open({ scripts = true, origin }) {
    await context?.close()
    context = await browser.newContext({ javaScriptEnabled: scripts, viewport: { width: 1280, height: 800 } })
    page = await context.newPage()
    page.setDefaultTimeout(PATIENCE)
    page.on('console', (message) => {
      const { url } = message.location()
      // Pages that refuse something are a failed load of themselves, for the browser.
      const itself = message.text().startsWith('Failed to load resource') && url === page.url()
      if (['error', 'warning'].includes(message.type()) && page.url().startsWith(origin) && !itself) {
        complaints.push(`${page.url()}: ${message.text()}`)
      }
    })
    ways.length = 0
    page.on('request', (request) => request.isNavigationRequest() && ways.push(request.url()))
    page.on('pageerror', (error) => complaints.push(`${page.url()}: ${error}`))
  },
  async visit({ url }) {
    // A page that leads on at once is left before it has loaded.
    await page.goto(url, { waitUntil: 'commit' }).catch((error) => {
      if (!caught) throw error
    })
  },
  async press({ role, name }) {
    await page.getByRole(role, { name, exact: true }).click({ noWaitAfter: true })
  },
  async press_first({ selector }) {
    await page.locator(selector).first().click({ noWaitAfter: true })
  },
  async fill({ label, value }) {
    await page.getByLabel(label, { exact: true }).fill(value)
  },
  async placeholders({ values }) {
    for (const [name, value] of Object.entries(values)) await page.getByPlaceholder(name, { exact: true }).fill(value)
  },
  async tick({ label }) {
    await page.getByLabel(label, { exact: true }).check()
  },
  async key({ key }) {
    await page.keyboard.press(key)
  },
  async type({ text }) {
    await page.keyboard.type(text)
  },
  // What has the focus, by its text or name.
  focus: () => page.evaluate(() => {
    const { activeElement: at } = document
    return at.getAttribute('aria-label') ?? (at.innerText || at.name || at.tagName)
  }),
  shows: async ({ text: wanted }) => {
    await until(wanted, async () => (await text()).includes(wanted))
    await page.waitForLoadState('load').catch(() => {})
    return text()
  },
  text,
  url: () => page.url(),
  source: () => page.content(),
  cookies: () => context.cookies(),
  // Takes these parameters out of the next request to a URL that begins like this.
  strip: ({ prefix, names }) => once(prefix, (session, requestId, url) => {
    for (const name of names) url.searchParams.delete(name)
    const location = { name: 'location', value: url.href }
    return session.send('Fetch.fulfillRequest', { requestId, responseCode: 303, responseHeaders: [location] })
  }),
  // Keeps the next request to a URL that begins like this from going out. The page stays as it was.
  intercept({ prefix }) {
    caught = undefined
    return once(prefix, (session, requestId, url) => {
      caught = url.href
      return session.send('Fetch.failRequest', { requestId, errorReason: 'Aborted' })
    })
  },
  async intercepted() {
    await until('a request', () => caught)
    return caught
  },
  // Waits until the page goes to a URL that begins like this, whether or not there is anything.
  async way({ prefix }) {
    const found = () => ways.find((url) => url.startsWith(prefix))
    await until(`the way to ${prefix}`, found)
    return found()
  },
  async screenshot({ path, width = 1280, scheme = 'light' }) {
    await page.setViewportSize({ width, height: 800 })
    await page.emulateMedia({ colorScheme: scheme })
    await page.screenshot({ path, fullPage: true })
  },
  // What axe-core finds, and whether a line is wider than the window.
  async examine() {
    const found = []
    await page.evaluate(AXE)
    for (const width of [1280, 320]) {
      for (const scheme of ['light', 'dark']) {
        await page.setViewportSize({ width, height: 800 })
        await page.emulateMedia({ colorScheme: scheme })
        const { violations } = await page.evaluate(() => axe.run({ resultTypes: ['violations'], preload: false }))
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)
        const where = `${scheme}, ${width} px`
        if (wide > 0) found.push({ impact: 'serious', id: `${wide} px too wide`, where, at: [] })
        for (const { id, impact, nodes } of violations) found.push({ impact, id, where, at: nodes.map((node) => node.html) })
      }
    }
    return found
  },
  // Those of all pages since the last question.
  complaints: () => complaints.splice(0),
}

process.stdout.write('ready\n')
for await (const line of createInterface({ input: process.stdin })) {
  const { act, ...options } = JSON.parse(line)
  const answer = await Promise.resolve(acts[act](options)).then(
    (value) => ({ value: value ?? null }), (error) => ({ error: error.message }),
  )
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}
await browser.close()
