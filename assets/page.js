// What the page does in the browser by itself. The components name these functions as `gcd.<name>`:
// in `js_on_load` with what Gradio has there (element, props, trigger, watch), and in `js`, which
// is a function from an event's values to those that its handler gets.

window.gcd = (() => {
  const MOMENT = 300; // milliseconds that Gradio needs to give a link its new file

  // The button in the header turns light to dark and back.
  const switchTheme = element =>
    element.addEventListener('click', event => {
      if (event.target.closest('#theme')) document.body.classList.toggle('dark');
    });

  // The strip of examples: a click chooses one, and the chosen one is marked.
  const examples = (element, props, trigger, watch) => {
    const mark = () =>
      element.querySelectorAll('button').forEach((button, index) =>
        button.classList.toggle('chosen', index === props.value)
      );
    element.addEventListener('click', event => {
      const button = event.target.closest('button');
      if (!button) return;
      props.value = Number(button.dataset.index);
      mark();
      trigger('select');
    });
    watch('value', mark);
    mark();
  };

  // The divider between before and after stays where it was put when the pictures change.
  const keepDivider = (element, watch) => {
    let at = 50;
    const place = () => element.style.setProperty('--at', `${at}%`);
    element.addEventListener('input', event => {
      if (!event.target.matches('.gcd-divider')) return;
      at = event.target.value;
      place();
    });
    watch('value', () => {
      const divider = element.querySelector('.gcd-divider');
      if (divider) divider.value = at;
    });
    place();
  };

  // The line that opens and closes the rows of directions which hardly move the classifier.
  const fold = (element, watch) => {
    const rows = element.closest('#directions');
    const mark = () =>
      element
        .querySelector('button')
        ?.setAttribute('aria-expanded', rows.classList.contains('unfolded'));
    element.addEventListener('click', event => {
      if (!event.target.closest('button')) return;
      rows.classList.toggle('unfolded');
      mark();
    });
    watch('value', mark);
    mark();
  };

  // The pictures fade while another image is on its way; the new ones come without the class.
  const fade = (...values) => {
    document.querySelector('.gcd-pictures')?.classList.add('busy');
    return values;
  };

  // The event's first value becomes this one; the others stay.
  const withFirst = first => (_, ...others) => [first, ...others];

  // Saves the file that an event has just put behind a link.
  const download = link => () => {
    setTimeout(() => document.querySelector(link)?.click(), MOMENT);
  };

  // A picture pasted anywhere on the page opens like an uploaded one.
  const openPasted = event => {
    const file = event.clipboardData?.files?.[0];
    const input = document.querySelector('#source input[type=file]');
    if (!file || !input) return;
    const transfer = new DataTransfer();
    transfer.items.add(file);
    input.files = transfer.files;
    input.dispatchEvent(new Event('change', { bubbles: true }));
  };
  document.addEventListener('paste', openPasted);

  // The menu of domains closes when something else is clicked, or by the Escape key.
  const closeMenu = except =>
    document.querySelectorAll('.gcd-menu[open]').forEach(menu => {
      if (!menu.contains(except)) menu.removeAttribute('open');
    });
  document.addEventListener('click', event => closeMenu(event.target));
  document.addEventListener('keydown', event => {
    if (event.key === 'Escape') closeMenu(null);
  });

  // The page of a domain that is being opened comes anew once the server can answer for it.
  document.addEventListener('DOMContentLoaded', () => {
    if (!document.body.matches('.gcd-alone')) return;
    document.body.classList.toggle('dark', matchMedia('(prefers-color-scheme: dark)').matches);
    if (document.querySelector('.gcd-opening.waits'))
      fetch('config').finally(() => location.reload());
  });

  return { switchTheme, examples, keepDivider, fold, fade, withFirst, download };
})();
