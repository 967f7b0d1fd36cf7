// Painting a region over the pictures: brush, eraser, box, undo. What is painted is outlined on all
// pictures, and goes to the server as a small black and white PNG.

Object.assign(window.gcd, (() => {
  const LINE = 0.5; // of the outline, in the generator's pixels; 2 of the screen's at least
  const SHADE = 'rgb(63 216 255 / 16%)'; // of what may change, over the pictures
  const UNDO = 30; // strokes that can be taken back
  const mask = document.createElement('canvas'); // white where the picture may change
  const pen = mask.getContext('2d', { willReadFrequently: true });
  const strokes = [];
  let tool = 'brush';
  let from = null; // where a stroke began, in the picture's pixels
  let before = null; // the mask as it was then
  let outside = false; // whether what is marked is what lies outside of what was painted
  let cursor = null; // where the keyboard paints, in the picture's pixels

  const stage = () => document.querySelector('#stage');
  const painting = () => Boolean(stage()?.classList.contains('painting'));
  // The generator's, whatever the picture's own size is.
  const size = () => Number(document.querySelector('#pictures .gcd-pictures')?.dataset.side) || 128;

  const fit = () => {
    if (mask.width === size()) return;
    mask.width = mask.height = size();
    strokes.length = 0;
  };

  const radius = () => Number(document.querySelector('[name=brush-size]')?.value ?? 12) / 2;

  // By the keyboard the changed picture is reached while one paints.
  const BY_KEYS = {
    tabindex: 0,
    role: 'application',
    'aria-label': 'Region: the arrows move the brush, Enter paints',
  };
  const reach = frame => {
    if (!frame.closest('figure.changed')) return;
    for (const [name, value] of Object.entries(BY_KEYS))
      if (painting()) frame.setAttribute(name, value);
      else frame.removeAttribute(name);
  };

  // The border of what is painted, over every picture.
  const outline = () => {
    const { width } = mask;
    const { data } = pen.getImageData(0, 0, width, width);
    const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < width && data[4 * (y * width + x) + 3] > 127;
    let count = 0;
    const marked = []; // rows of its cells: x, y and how many
    const sides = []; // of its cells: a corner, and where the other one lies from there
    for (let y = 0; y < width; y++)
      for (let x = 0; x < width; x++) {
        if (!inside(x, y)) continue;
        count++;
        if (inside(x - 1, y)) marked.at(-1)[2]++;
        else marked.push([x, y, 1]);
        if (!inside(x - 1, y)) sides.push([x, y, 0, 1]);
        if (!inside(x + 1, y)) sides.push([x + 1, y, 0, 1]);
        if (!inside(x, y - 1)) sides.push([x, y, 1, 0]);
        if (!inside(x, y + 1)) sides.push([x, y + 1, 1, 0]);
      }
    for (const frame of document.querySelectorAll('#pictures .frame')) {
      let canvas = frame.querySelector('canvas.outline');
      reach(frame);
      if (!painting() || !(count || frame === document.activeElement)) {
        canvas?.remove();
        continue;
      }
      if (!canvas) {
        canvas = document.createElement('canvas');
        canvas.className = 'outline';
        frame.append(canvas);
      }
      // A pixel of the canvas is one of the screen's: a line of it is never lost between two.
      const shown = frame.clientWidth * (window.devicePixelRatio || 1);
      const scale = Math.max(1, Math.round(shown)) / width;
      canvas.width = canvas.height = Math.round(scale * width);
      const context = canvas.getContext('2d');
      context.fillStyle = SHADE;
      const at = place => Math.round(scale * place); // whole pixels: no seams between the rows
      for (const [x, y, wide] of marked) context.fillRect(at(x), at(y), at(x + wide) - at(x), at(y + 1) - at(y));
      context.strokeStyle = '#3fd8ff';
      context.lineWidth = Math.max(LINE * scale, 2);
      context.beginPath();
      for (const [x, y, dx, dy] of sides) {
        context.moveTo(scale * x, scale * y);
        context.lineTo(scale * (x + dx), scale * (y + dy));
      }
      context.stroke();
      if (cursor && frame === document.activeElement) {
        context.beginPath();
        context.arc(scale * cursor[0], scale * cursor[1], scale * radius(), 0, 2 * Math.PI);
        context.stroke();
      }
    }
    const share = document.querySelector('.gcd-painter .share');
    if (share) share.textContent = count ? `${Math.max(1, Math.round((100 * count) / width ** 2))} % of the picture` : '';
  };

  const spot = (event, frame) => {
    const box = frame.getBoundingClientRect();
    const { zoom, x, y } = gcd.viewed();
    const px = ((event.clientX - box.left) / box.width - x) / zoom;
    const py = ((event.clientY - box.top) / box.height - y) / zoom;
    return [px * mask.width, py * mask.width];
  };

  const keep = () => {
    strokes.push({ picture: pen.getImageData(0, 0, mask.width, mask.width), outside });
    if (strokes.length > UNDO) strokes.shift();
  };

  const draw = (to, erase) => {
    pen.globalCompositeOperation = erase ? 'destination-out' : 'source-over';
    pen.strokeStyle = pen.fillStyle = '#fff';
    if (tool === 'box') {
      pen.putImageData(before, 0, 0);
      const [x, y] = [Math.min(from[0], to[0]), Math.min(from[1], to[1])];
      pen.fillRect(Math.round(x), Math.round(y), Math.round(Math.abs(to[0] - from[0])), Math.round(Math.abs(to[1] - from[1])));
    } else {
      pen.lineWidth = 2 * radius();
      pen.lineCap = pen.lineJoin = 'round';
      pen.beginPath();
      pen.moveTo(...from);
      pen.lineTo(to[0] + 0.01, to[1]);
      pen.stroke();
      from = to;
    }
    outline();
  };

  document.addEventListener(
    'pointerdown',
    event => {
      const frame = event.target.closest?.('#pictures .frame');
      if (!frame || !painting() || event.button !== 0 || !event.isPrimary) return;
      event.preventDefault();
      event.stopPropagation();
      fit();
      keep();
      before = strokes.at(-1).picture;
      from = spot(event, frame);
      frame.setPointerCapture(event.pointerId);
      draw(from, tool === 'eraser');
      const move = moved => draw(spot(moved, frame), tool === 'eraser');
      const end = () => {
        from = null;
        frame.removeEventListener('pointermove', move);
      };
      frame.addEventListener('pointermove', move);
      for (const name of ['pointerup', 'pointercancel']) frame.addEventListener(name, end, { once: true });
    },
    true
  );

  // Arrows move a brush over the picture that has the focus, and Enter or the space bar paints.
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  document.addEventListener('keydown', event => {
    if (!event.target.matches?.('#pictures .frame') || !painting()) return;
    const [arrow, paints] = [ARROWS[event.key], ['Enter', ' '].includes(event.key)];
    if (!arrow && !paints) return;
    event.preventDefault();
    fit();
    const within = place => Math.min(mask.width, Math.max(0, place));
    cursor ??= [mask.width / 2, mask.width / 2];
    if (arrow) cursor = cursor.map((place, i) => within(place + arrow[i] * Math.max(1, radius())));
    else dab(tool === 'eraser');
    outline();
  });

  // One round spot where the keyboard's brush is, whichever tool is chosen but the eraser.
  const dab = erase => {
    keep();
    pen.globalCompositeOperation = erase ? 'destination-out' : 'source-over';
    pen.fillStyle = '#fff';
    pen.beginPath();
    pen.arc(...cursor, radius(), 0, 2 * Math.PI);
    pen.fill();
  };

  const DO = {
    invert: () => {
      keep();
      const picture = pen.getImageData(0, 0, mask.width, mask.width);
      for (let k = 0; k < picture.data.length; k += 4) picture.data.set([255, 255, 255, picture.data[k + 3] > 127 ? 0 : 255], k);
      pen.putImageData(picture, 0, 0);
      outside = !outside;
    },
    undo: () => {
      if (!strokes.length) return;
      const last = strokes.pop();
      pen.putImageData(last.picture, 0, 0);
      outside = last.outside;
    },
    clear: () => {
      keep();
      outside = false;
      pen.clearRect(0, 0, mask.width, mask.width);
    },
  };
  const markTools = () =>
    document.querySelectorAll('[data-paint]').forEach(button => {
      const name = button.dataset.paint;
      if (name === 'invert') button.setAttribute('aria-pressed', outside);
      else if (!DO[name]) button.setAttribute('aria-pressed', name === tool);
    });
  const painter = element => {
    element.addEventListener('click', event => {
      const name = event.target.closest('[data-paint]')?.dataset.paint;
      if (!name) return;
      fit();
      if (DO[name]) DO[name]();
      else tool = name;
      markTools();
      outline();
    });
    markTools();
  };

  const paint = button => {
    const on = stage().classList.toggle('painting');
    document.body.classList.toggle('gcd-painting', on);
    button.setAttribute('aria-pressed', on);
    fit();
    outline();
  };

  // What is painted, as opaque on transparent, for the server; "" where nothing is.
  const withMask = (_, method) => {
    fit();
    const { data } = pen.getImageData(0, 0, mask.width, mask.width);
    const flat = document.createElement('canvas');
    flat.width = flat.height = mask.width;
    const context = flat.getContext('2d');
    const picture = context.createImageData(mask.width, mask.width);
    let count = 0;
    for (let k = 0; k < data.length; k += 4) {
      const marked = data[k + 3] > 127 ? 255 : 0;
      count += marked > 0;
      picture.data.set([255, 255, 255, marked], k);
    }
    context.putImageData(picture, 0, 0);
    return [count ? flat.toDataURL('image/png') : '', method];
  };

  const triesRegion = (...values) => gcd.begun('try-region')(...withMask(...values));

  // What another counterfactual is to leave alone: what is painted, where the painter is open.
  const withAvoided = async (_, ...others) => {
    await gcd.waitForPicture('another');
    return [painting() ? withMask()[0] : '', ...others];
  };

  // The server's suggestion takes the place of what is painted.
  const suggested = (props, watch) =>
    watch('value', async () => {
      if (!props.value) return;
      const image = new Image();
      image.src = props.value;
      await image.decode();
      fit();
      keep();
      const scratch = document.createElement('canvas');
      scratch.width = scratch.height = mask.width;
      const context = scratch.getContext('2d');
      context.drawImage(image, 0, 0, mask.width, mask.width);
      const picture = context.getImageData(0, 0, mask.width, mask.width);
      for (let k = 0; k < picture.data.length; k += 4) picture.data[k + 3] = picture.data[k];
      pen.putImageData(picture, 0, 0);
      outside = false;
      markTools();
      outline();
    });

  return { painter, paint, triesRegion, withAvoided, suggested, outline };
})());
