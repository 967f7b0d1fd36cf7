// Looking closer: zoom and pan of all pictures together, window and level of grey ones, flicker
// between before and after, and the full screen.

Object.assign(window.gcd, (() => {
  const MOST = 12; // times larger
  const BLINK = 650; // milliseconds of each picture: slow enough to be safe for everybody's eyes
  const view = { zoom: 1, x: 0, y: 0 }; // x, y: where the picture's corner is, in frames
  let pictures = null; // the element that holds them
  let blinking = 0;

  const place = () => {
    const room = 1 - view.zoom; // the farthest that a corner may go
    for (const side of ['x', 'y'])
      view[side] = room > 0 ? room / 2 : Math.min(0, Math.max(room, view[side]));
    for (const [name, value] of [['--zoom', view.zoom], ['--x', `${100 * view.x}%`], ['--y', `${100 * view.y}%`]])
      pictures.style.setProperty(name, value);
    pictures.classList.toggle('zoomed', view.zoom > 1);
  };

  // Zooms so that what lies at a point of a frame, 0 to 1, stays there.
  const zoomTo = (zoom, px = 0.5, py = 0.5, least = 1, most = MOST) => {
    zoom = Math.min(most, Math.max(least, zoom));
    const ratio = zoom / view.zoom;
    Object.assign(view, { zoom, x: px - (px - view.x) * ratio, y: py - (py - view.y) * ratio });
    place();
  };

  // One pixel of the opened picture on one of the page's, none of them between two.
  const zoomToPixels = () => {
    const image = pictures?.querySelector('img.source');
    if (!image?.naturalWidth) return;
    const [width, height] = ['width', 'height'].map(side => parseFloat(getComputedStyle(image)[side]));
    const zoom = image.naturalWidth / width;
    zoomTo(zoom, 0.5, 0.5, zoom, zoom);
    Object.assign(view, { x: Math.round(view.x * width) / width, y: Math.round(view.y * height) / height });
    place();
  };

  const spot = (event, frame) => {
    const box = frame.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };

  const follow = element => {
    const fingers = new Map();
    const frameOf = event => event.target.closest('.frame');
    element.addEventListener(
      'wheel',
      event => {
        const frame = frameOf(event);
        const page = document.documentElement;
        const scrolls = page.scrollHeight > page.clientHeight + 1;
        if (!frame || (scrolls && !event.ctrlKey && view.zoom === 1)) return;
        event.preventDefault();
        zoomTo(view.zoom * Math.exp(-event.deltaY / 400), ...spot(event, frame));
      },
      { passive: false }
    );
    element.addEventListener('dblclick', event => {
      const frame = frameOf(event);
      if (frame) zoomTo(view.zoom === 1 ? 2.5 : 1, ...spot(event, frame));
    });
    element.addEventListener('pointerdown', event => {
      const frame = frameOf(event);
      if (!frame || event.target.matches('.gcd-divider') && view.zoom === 1) return;
      fingers.set(event.pointerId, event);
      if (view.zoom > 1 || fingers.size > 1) element.setPointerCapture(event.pointerId);
    });
    element.addEventListener('pointermove', event => {
      const before = fingers.get(event.pointerId);
      const frame = element.querySelector('.frame');
      if (!before || !frame) return;
      const size = frame.getBoundingClientRect().width;
      if (fingers.size === 2) {
        const other = [...fingers.values()].find(one => one.pointerId !== event.pointerId);
        const apart = one => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
        zoomTo((view.zoom * apart(event)) / Math.max(apart(before), 1), ...spot(other, frame));
      } else if (view.zoom > 1) {
        view.x += (event.clientX - before.clientX) / size;
        view.y += (event.clientY - before.clientY) / size;
        place();
      }
      fingers.set(event.pointerId, event);
    });
    for (const end of ['pointerup', 'pointercancel', 'lostpointercapture'])
      element.addEventListener(end, event => fingers.delete(event.pointerId));
  };

  // The original over the changed picture, while it is shown in its place.
  const showBefore = shown => {
    const figure = pictures?.querySelector('figure.changed');
    const source = pictures?.querySelector('img.source');
    if (!figure || !source) return;
    let over = figure.querySelector('.over');
    if (shown && !over) {
      over = source.cloneNode();
      over.className = 'over';
      figure.querySelector('.frame').append(over);
    }
    if (!shown) over?.remove();
    figure.classList.toggle('shows-before', shown);
  };
  const flicker = () => {
    clearInterval(blinking);
    const button = document.querySelector('#tools [data-do=flicker]');
    if (blinking) {
      blinking = 0;
      showBefore(false);
    } else {
      let shown = true;
      showBefore(shown);
      blinking = setInterval(() => showBefore((shown = !shown)), BLINK);
    }
    button?.setAttribute('aria-pressed', Boolean(blinking));
  };

  // Grey levels from level - width / 2 to level + width / 2 are spread from black to white.
  const setWindow = box => {
    const [level, width] = ['level', 'width'].map(name => Number(box.querySelector(`[name=${name}]`).value));
    box.querySelectorAll('label').forEach(label => {
      label.querySelector('output').value = label.querySelector('input').value;
    });
    document.querySelectorAll('#gcd-window-filter feFuncR, #gcd-window-filter feFuncG, #gcd-window-filter feFuncB')
      .forEach(part => {
        part.setAttribute('slope', 255 / width);
        part.setAttribute('intercept', 0.5 - level / width);
      });
    pictures?.classList.toggle('windowed', level !== 128 || width !== 256);
  };
  const FILTER =
    '<svg width="0" height="0" aria-hidden="true" style="position:absolute"><filter ' +
    'id="gcd-window-filter" color-interpolation-filters="sRGB"><feComponentTransfer>' +
    ['R', 'G', 'B'].map(c => `<feFunc${c} type="linear" slope="1" intercept="0"/>`).join('') +
    '</feComponentTransfer></filter></svg>';

  const full = () => {
    if (document.fullscreenElement) document.exitFullscreen();
    else document.querySelector('#work')?.requestFullscreen?.();
  };

  const DO = {
    flicker,
    full,
    region: button => gcd.paint(button),
    closer: () => zoomTo(view.zoom * 1.5),
    farther: () => zoomTo(view.zoom / 1.5),
    whole: () => zoomTo(1),
    pixels: zoomToPixels,
    window: button => {
      const box = button.closest('.gcd-window');
      box.querySelector('[name=level]').value = 128;
      box.querySelector('[name=width]').value = 256;
      setWindow(box);
    },
  };

  const tools = element => {
    element.insertAdjacentHTML('beforeend', FILTER);
    element.addEventListener('click', event => {
      const button = event.target.closest('[data-do]');
      if (button) DO[button.dataset.do](button);
    });
    element.addEventListener('input', event => {
      const box = event.target.closest('.gcd-window');
      if (box) setWindow(box);
    });
  };

  // How much of the window the pictures cover where they stay in sight.
  const keepHeight = block => {
    if (!block) return;
    new ResizeObserver(() => {
      const stuck = getComputedStyle(block).position === 'sticky' ? block.offsetHeight : 0;
      document.documentElement.style.setProperty('--gcd-stuck', `${stuck}px`);
      gcd.outline();
    }).observe(block);
  };

  const stage = (element, watch) => {
    pictures = element;
    follow(element);
    keepHeight(element.closest('#pictures'));
    place();
    watch('value', () => blinking || showBefore(false));
    watch('value', () => gcd.outline());
  };

  // Keys, unless somebody writes: F flickers, B shows before while it is held.
  const writes = target => target.closest?.('input[type=text], input[type=number], textarea');
  document.addEventListener('keydown', event => {
    if (writes(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === 'f') flicker();
    if (event.key === 'b' && !event.repeat && !blinking) showBefore(true);
  });
  document.addEventListener('keyup', event => {
    if (event.key === 'b' && !blinking) showBefore(false);
  });

  const viewed = () => view;

  return { stage, tools, viewed };
})());
