// What pages do beyond their HTML. All of them work without it.
(() => {
  'use strict'

  const parsed = async (answer) => new DOMParser().parseFromString(await answer.text(), 'text/html')
  const later = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))

  // A rule that waits for its first use: looks every few seconds, while somebody looks at the page.
  const watch = async () => {
    for (let failures = 0; failures < 3;) {
      await later(5000)
      const section = document.querySelector('[data-waits]')
      if (!section) return
      if (document.hidden) continue
      try {
        const answer = await fetch(section.dataset.poll, { redirect: 'error' })
        if (!answer.ok) throw new Error(answer.status)
        const page = await parsed(answer)
        const fresh = page.querySelector('[data-poll]')
        // Whoever reads with a cursor in the section is not interrupted for nothing.
        if (fresh && fresh.textContent !== section.textContent) {
          section.replaceWith(document.adoptNode(fresh))
          follow(page)
        }
        failures = 0
      } catch {
        failures += 1
      }
    }
  }

  // The other parts of a page whose state has changed, but those in which somebody works.
  const follow = (page) => {
    for (const part of document.querySelectorAll('[data-follows]')) {
      const isTouched = [...part.querySelectorAll('input')].some((input) => input.value !== input.defaultValue)
      const fresh = page.querySelector(`[data-follows="${part.dataset.follows}"]`)
      if (fresh && !isTouched && !part.contains(document.activeElement)) part.replaceWith(document.adoptNode(fresh))
    }
  }

  // A rule that is being written: says what it would admit, a moment after something was typed.
  const preview = (form) => {
    const place = form.querySelector('#checked')
    let timer
    let running
    const check = async () => {
      running?.abort()
      running = new AbortController()
      const { signal } = running
      const body = new URLSearchParams(new FormData(form))
      body.set('do', 'check')
      try {
        const answer = await fetch(form.action, { method: 'POST', body, signal, redirect: 'error' })
        const fresh = (await parsed(answer)).querySelector('#checked')
        if (fresh && !signal.aborted) place.replaceChildren(...document.adoptNode(fresh).childNodes)
      } catch {
        // The button "Check" says what is wrong.
      }
    }
    form.addEventListener('input', (event) => {
      if (event.target.id === 'accept_warnings') return
      // What was said of the rule, and what was ticked beside its warnings, is not of this one.
      place.replaceChildren()
      running?.abort()
      clearTimeout(timer)
      timer = setTimeout(check, 700)
    })
    // A value that is typed beside a filter is meant to count.
    form.addEventListener('input', (event) => {
      if (event.target.type === 'checkbox' || event.target.value === '') return
      const box = event.target.closest('.field')?.querySelector('.tick input[type="checkbox"]')
      if (box) box.checked = true
    })
  }

  // Only the actions of the chosen registry are offered; what is ticked stays in sight.
  const offer = (permission) => {
    const registry = permission.querySelector('select')
    const show = () => {
      for (const line of permission.querySelectorAll('[data-registries]')) {
        const has = line.dataset.registries.split(' ').includes(registry.value)
        line.hidden = !has && !line.querySelector('input').checked
      }
    }
    registry.addEventListener('change', show)
    show()
  }

  // A button that copies what stands in a block.
  const copy = (block) => {
    const button = document.createElement('button')
    button.type = 'button'
    button.textContent = 'Copy'
    button.addEventListener('click', async () => {
      await navigator.clipboard.writeText(block.textContent)
      button.textContent = 'Copied'
      await later(2000)
      button.textContent = 'Copy'
    })
    block.before(button)
  }

  document.querySelectorAll('form[data-rule]').forEach(preview)
  document.querySelectorAll('[data-permission]').forEach(offer)
  if (navigator.clipboard) document.querySelectorAll('pre[data-copy]').forEach(copy)
  if (document.querySelector('[data-waits]')) watch()
  document.getElementById('problems')?.focus()
})()
