// What the page does in the browser by itself. The components name these functions as `gcd.<name>`:
// in `js_on_load` with what Gradio has there (element, props, trigger, watch), and in `js`, which
// is a function from an event's values to those that its handler gets.

window.gcd = (() => {
  const MOMENT = 300; // milliseconds that Gradio needs to give a link its new file

  // Gradio may bring the scripts when the page is there already.
  const whenThere = begin =>
    document.body ? begin() : document.addEventListener('DOMContentLoaded', begin);

  // The button in the header turns light to dark and back.
  const switchTheme = element =>
    element.addEventListener('click', event => {
      if (event.target.closest('#theme')) document.body.classList.toggle('dark');
    });

  // The strip of examples: a click chooses one, and the chosen one is marked. A click while another
  // one is being opened is kept here: the answer to that one says that it is shown.
  let wanted = 0;
  const examples = (element, props, trigger, watch) => {
    const mark = () =>
      element.querySelectorAll('button').forEach((button, index) =>
        button.classList.toggle('chosen', index === props.value)
      );
    element.addEventListener('click', event => {
      const button = event.target.closest('button');
      if (!button) return;
      props.value = wanted = Number(button.dataset.index);
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
      gcd.redraw();
    });
    place();
  };

  const pictures = (element, watch) => {
    keepDivider(element, watch);
    watch('value', () => gcd.writeAddress());
    gcd.stage(element, watch);
    watch('value', () => gcd.begin(element));
    watch('value', () => setTimeout(() => gcd.ownPictures(element)));
  };

  // A picture is sent once: where the HTML names it by a key only, it is taken from those that came
  // before, the newest of which are kept. The server keeps fewer keys than that (see SentPictures).
  const PICTURES_KEPT = 48;
  const sent = new Map();
  const filled = html =>
    (html ?? '').replace(/src="gcd:(\w+) ?([^"]*)"/g, (_, key, own) => {
      const picture = own || sent.get(key);
      if (!picture) {
        setTimeout(() => document.querySelector('#pictures-missing')?.click());
        return '';
      }
      sent.delete(key); // and comes to the end
      sent.set(key, picture);
      if (sent.size > PICTURES_KEPT) sent.delete(sent.keys().next().value);
      return `src="${picture}"`;
    });

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

  const KNOB = 26; // pixels of a slider's, as wide as page.css draws it for fingers

  // Moves the slider of a direction as a hand would; its events follow.
  const moveSlider = (name, alpha) => {
    const input = document.querySelector(`#slider-${name} input[type=range]`);
    if (!input || input.disabled) return;
    input.value = alpha.toFixed(2);
    input.dispatchEvent(new Event('input', { bubbles: true }));
  };

  // A click on the curve, or dragging over it, moves the slider of its direction.
  const dragCurve = (element, watch) => {
    watch('value', () => gcd.redraw());
    const go = event => {
      const plot = element.querySelector('svg[data-direction]');
      if (!plot) return;
      const box = plot.getBoundingClientRect();
      const [left, right, most] = ['left', 'right', 'most'].map(name => Number(plot.dataset[name]));
      const share = ((event.clientX - box.left) / box.width - left) / (right - left);
      moveSlider(plot.dataset.direction, (2 * Math.min(Math.max(share, 0), 1) - 1) * most);
    };
    element.addEventListener('pointerdown', event => {
      if (event.button !== 0 || !event.target.closest('svg[data-direction]')) return;
      event.preventDefault();
      element.setPointerCapture(event.pointerId);
      go(event);
    });
    element.addEventListener('pointermove', event => {
      if (element.hasPointerCapture(event.pointerId)) go(event);
    });
  };

  const bars = watch => watch('value', () => gcd.redraw());

  // A finger that scrolls over a slider leaves it (page.css); one that taps its track moves it there.
  document.addEventListener('click', event => {
    const row = event.target.closest?.('button, a, input') ? null
      : event.target.closest?.('.gcd-direction');
    const input = row?.querySelector('input[type=range]');
    if (!input || getComputedStyle(input).pointerEvents !== 'none') return;
    const { left, right, top, bottom } = input.getBoundingClientRect();
    const outside = event.clientX < left || event.clientX > right;
    if (outside || event.clientY < top || event.clientY > bottom) return;
    const share = (event.clientX - left - KNOB / 2) / (right - left - KNOB);
    const [least, most] = [Number(input.min), Number(input.max)];
    const alpha = least + (most - least) * Math.min(Math.max(share, 0), 1);
    moveSlider(input.closest('[id^=slider-]').id.slice('slider-'.length), alpha);
  });

  // The arrow keys move a direction's slider by a tenth; with shift, by its finest step.
  const KEYS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 };
  document.addEventListener('keydown', event => {
    const input = event.target;
    if (!(event.key in KEYS) || !input.matches?.('.gcd-direction input[type=range]')) return;
    event.preventDefault();
    const step = KEYS[event.key] * (event.shiftKey ? Number(input.step) : 0.1);
    const alpha = Number(input.value) + step;
    input.value = Math.min(Math.max(alpha, input.min), input.max).toFixed(2);
    input.dispatchEvent(new Event('input', { bubbles: true }));
  });

  // The pictures and the answer fade while another image is being opened.
  let [opening, shown] = [0, 0]; // images that are being opened, and that were opened so far
  let arriving = true; // until the page has opened its first image, or could not
  const fades = on => {
    for (const one of document.querySelectorAll('.gcd-pictures, #bars')) one.classList.toggle('busy', on);
  };
  const opens = () => {
    opening += 1;
    fades(true);
    document.querySelector('#actions .gcd-making[data-failed]')?.remove();
  };
  const fade = (...values) => {
    opens();
    gcd.stepsOn();
    return values;
  };
  const openExample = (_, ...others) => [wanted, ...fade(...others)];
  const ended = () => {
    opening = Math.max(opening - 1, 0);
    arriving = false;
    if (!opening) fades(false);
    gcd.writeAddress();
  };
  const isOpening = () => opening > 0;
  const opened = (...values) => {
    shown += 1;
    ended();
    return values;
  };

  // On opening a picture, on another question about it, or with other directions, a change that flips
  // its answer comes by itself, unless that was switched off, a slider stands elsewhere already,
  // another flip was asked for meanwhile, or the picture is so unlike the domain's that an answer to
  // it means nothing.
  const FIRST_FLIP = 'gcd-first-flip';
  const FRAME = 30; // milliseconds between two looks at the page
  const firstFlip = element => {
    const box = element.querySelector('input');
    box.checked = localStorage.getItem(FIRST_FLIP) !== 'off';
    box.addEventListener('change', () => localStorage.setItem(FIRST_FLIP, box.checked ? 'on' : 'off'));
  };
  const openedAnew = (...values) => {
    const [pressed, until] = [waiting > 0, performance.now() + MOMENT];
    const flip = () => {
      if (pressed) return; // for another flip of this picture
      const shown = document.querySelector('#pictures [data-address]')?.dataset ?? { address: '' };
      const [button, box] = ['#flip-g', '[data-first-flip]'].map(one => document.querySelector(one));
      const moved = /&[ghw]\d*=/.test(shown.address) || 'far' in shown;
      const is = box?.checked && button?.offsetParent && !opening && !moved;
      if (is && !gcd.isFlipping()) button.click();
      // Else the page is not there yet, or a flip of the picture before has not ended.
      else if (is || performance.now() < until) setTimeout(flip, FRAME);
    };
    setTimeout(flip, FRAME);
    return opened(...values);
  };

  const FLIPS_FIRST = ['open_image', 'open_example', 'arrive', 'explain', 'use_directions', 'use_so_far', 'load_directions'];
  const openedBy = event => (FLIPS_FIRST.includes(event) ? openedAnew : opened);

  // The key that only this tab knows. By it the tab finds its visit again after a reload or a lost
  // connection. A tab that was copied from another one has that one's storage: while the other one
  // holds the key's lock, the copy takes a key of its own.
  const VISIT = 'gcd-visit';
  const [LOCK_TRIES, LOCK_WAIT] = [10, 50]; // a page that is loaded anew may hold it for a moment
  const newKey = () =>
    Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, '0')).join('');
  const locked = key =>
    new Promise(tell => {
      if (!navigator.locks) return tell(true);
      navigator.locks.request(`${VISIT}-${key}`, { ifAvailable: true }, lock => {
        tell(Boolean(lock));
        return lock ? new Promise(() => {}) : undefined; // held for as long as the page is there
      });
    });
  const stored = (key = null) => {
    try {
      if (key) sessionStorage.setItem(VISIT, key);
      return sessionStorage.getItem(VISIT);
    } catch {
      return key; // the browser keeps nothing
    }
  };
  const visit = (async () => {
    const before = stored();
    for (let tries = before ? LOCK_TRIES : 0; tries > 0; tries -= 1) {
      if (await locked(before)) return before;
      await new Promise(go => setTimeout(go, LOCK_WAIT));
    }
    const key = newKey();
    await locked(key);
    stored(key);
    return key;
  })();

  // What the page opens when it is loaded, and when one goes back, is said by its address.
  const withAddress = async (...values) => {
    opens();
    return [...values.slice(0, -1), `${location.search}#page:${await visit}`];
  };

  // What looks at the open image waits until the page has one: a tab that the address names is
  // chosen before that.
  const onceOpened = async (...values) => {
    while (arriving || opening > 0) await new Promise(go => setTimeout(go, 50));
    return values;
  };

  // Everything of the visit has been dropped: the page begins as a new visitor's.
  const forgotten = () => {
    try {
      sessionStorage.removeItem(VISIT);
    } finally {
      location.replace(location.pathname);
    }
  };
  document.addEventListener('click', event => {
    if (event.target.closest('[data-do="forget-me"]')) document.querySelector('#forget-me')?.click();
  });

  // A search has ended in a tab that nobody looks at: its title says so until somebody does, and the
  // browser, where that was allowed. The browser asks for it on a press of the box only.
  const TELL = 'gcd-tell';
  const mayTell = () => window.Notification?.permission === 'granted' && localStorage.getItem(TELL) === 'on';
  const tellMe = element => {
    const box = element.querySelector('input');
    if (!window.Notification) return element.remove();
    box.checked = mayTell();
    box.addEventListener('change', async () => {
      localStorage.setItem(TELL, box.checked ? 'on' : 'off');
      if (box.checked && Notification.permission !== 'granted') await Notification.requestPermission();
      box.checked = mayTell();
    });
  };
  // A search was begun by a button that may lie far below what tells of it.
  const searches = (...values) => {
    const told = document.querySelector('#progress');
    const { top, bottom } = told?.getBoundingClientRect() ?? { top: 0, bottom: 1 };
    if (bottom <= 0 || bottom > innerHeight) told.scrollIntoView({ block: top < 0 ? 'start' : 'end' });
    return values;
  };
  const found = () => {
    if (!document.hidden || !document.querySelector('#progress [data-found]')) return;
    const title = document.title;
    document.title = `\u2713 Directions found \u2013 ${title}`;
    if (mayTell()) new Notification('Directions found', { body: title });
    document.addEventListener('visibilitychange', () => (document.title = title), { once: true });
  };

  // A press on "To flip" or "Another way" is meant for the image that is being sent or opened, if
  // there is one: it waits until that is shown, and says so. If the image cannot be opened, a
  // message says so, and the press is dropped.
  let waiting = 0; // presses that do
  const awaited = () => opening > 0 || !document.querySelector('#source input[type=file]');
  const waitForPicture = async name => {
    gcd.flipBegins(name);
    if (!awaited()) return;
    const before = shown;
    waiting += 1;
    for (let quiet = 0; quiet < 2; quiet = awaited() ? 0 : quiet + 1)
      await new Promise(go => setTimeout(go, 50));
    waiting -= 1;
    if (shown === before) {
      gcd.flipEnds();
      throw new Error('The image was not opened.');
    }
  };
  const flip = name => async (_, ...others) => {
    await waitForPicture(name);
    return [name, ...others];
  };

  // Where *To flip* led to what is shown, another choice of how sure it is to be flips it anew.
  document.addEventListener('change', event => {
    const name = document.querySelector('#pictures [data-flip]')?.dataset.flip;
    if (!name || !event.target.closest?.('#target')) return;
    setTimeout(() => document.querySelector(`#flip-${name}`)?.click(), FRAME); // Gradio has it then
  });

  // The event's first value becomes this one; the others stay.
  const withFirst = first => (_, ...others) => [first, ...others];

  // The switch beside the changed picture: in your picture, or as the generator draws it.
  document.addEventListener('click', event => {
    const detail = event.target.closest('[data-detail]')?.dataset.detail;
    if (detail) document.querySelector(`#draw-${detail}`)?.click();
  });

  // A picture of the wall opens in Explore.
  let piece = 0;
  const wall = element =>
    element.addEventListener('click', event => {
      const tile = event.target.closest('[data-piece]');
      if (!tile) return;
      piece = Number(tile.dataset.piece);
      document.querySelector('#open-piece').click();
    });
  const withPiece = (_, ...others) => [piece, ...others];

  // Saves the file that an event has just put behind a link.
  const download = link => () => {
    setTimeout(() => document.querySelector(link)?.click(), MOMENT);
  };

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

  return { whenThere, switchTheme, examples, pictures, bars, withAddress, onceOpened, filled, fold, dragCurve, moveSlider, fade, openExample, ended, isOpening, openedBy, firstFlip, forgotten, tellMe, searches, found, waitForPicture, flip, withFirst, wall, withPiece, download };
})();
