// The visitor's own pictures as tiles beside the examples, under the names of their files. Files and
// names are kept in this page alone and go with it, but for the one that is open; a click on a tile sends its file once more.

Object.assign(window.gcd, (() => {
  const TILES_KEPT = 4;
  const own = []; // { file, name, picture }, the newest first; the name is what the server calls it
  let sent = null; // the file that was sent last, until another picture is shown
  let last = null; // the original that was shown last

  const input = () => document.querySelector('#source input[type=file]');
  const send = file => {
    if (!file || !input()) return;
    const transfer = new DataTransfer();
    transfer.items.add(file);
    input().files = transfer.files;
    input().dispatchEvent(new Event('change', { bubbles: true }));
  };

  const fileOf = (address, name) => {
    const [head, data] = address.split(',');
    if (!head.startsWith('data:')) return null;
    const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0));
    return new File([bytes], name, { type: head.slice(5).split(';')[0] });
  };

  const draw = (name, isOwn) => {
    const strip = document.querySelector('#examples');
    document.querySelectorAll('.gcd-own').forEach(tile => tile.remove());
    for (const one of own) {
      const tile = document.createElement('button');
      Object.assign(tile, { type: 'button', className: 'gcd-own', title: one.file.name });
      tile.classList.toggle('chosen', isOwn && one === own.find(other => other.name === name));
      const picture = document.createElement('img');
      Object.assign(picture, { src: one.picture, alt: '' });
      const words = document.createElement('span');
      words.textContent = one.file.name;
      tile.append(picture, words);
      tile.addEventListener('click', () => send(one.file));
      strip.before(tile);
    }
  };

  // What the pictures show has changed: a file that was sent may be among them now.
  const ownPictures = element => {
    const shown = element.querySelector('.gcd-pictures');
    if (!shown) return;
    const isOwn = shown.dataset.address.startsWith('own=');
    const picture = shown.querySelector('img.source')?.src;
    if (!picture || picture === last) return draw(shown.dataset.name, isOwn);
    last = picture;
    // Of a page that was loaded anew the server has the picture alone: it is sent again as it is shown.
    if (isOwn && !sent && !own.some(one => one.name === shown.dataset.name))
      sent = fileOf(picture, shown.dataset.name);
    if (isOwn && sent) {
      const known = own.findIndex(one => one.file === sent);
      if (known >= 0) own.splice(known, 1);
      own.unshift({ file: sent, name: shown.dataset.name, picture });
      own.splice(TILES_KEPT);
    }
    sent = null;
    draw(shown.dataset.name, isOwn);
  };

  document.addEventListener(
    'change',
    event => {
      if (event.target === input()) sent = event.target.files[0] ?? null;
    },
    true
  );
  document.addEventListener(
    'drop',
    event => {
      if (event.target.closest?.('#source')) sent = event.dataTransfer?.files?.[0] ?? null;
    },
    true
  );
  // A picture pasted anywhere on the page opens like an uploaded one.
  document.addEventListener('paste', event => send(event.clipboardData?.files?.[0]));

  // Opens the picture of a name once more; false where it is not kept here.
  const openOwn = name => {
    const known = own.find(one => one.name === name);
    send(known?.file);
    return Boolean(known);
  };

  return { ownPictures, openOwn };
})());
