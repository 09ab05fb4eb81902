// The pictures: one tile for each person, with a letter where there is no camera, and a large one for each shared
// screen. It draws what main.ts tells it and decides nothing about the meeting.
import type { VideoTileState } from 'amazon-chime-sdk-js';
import type { Person } from './meeting';

const $ = (id: string) => document.getElementById(id)!;

interface Tile {
  item: HTMLLIElement;
  video: HTMLVideoElement;
  name: HTMLElement;
  tileId: number | null;
}

type BindVideo = (tileId: number, element: HTMLVideoElement) => void;

/** The shape that a camera picture usually has. */
const WIDEST = 16 / 9;
/** Between two tiles; the style sheet's 0.75rem. */
const GAP_PX = 12;

function icon(name: string): SVGSVGElement {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  use.setAttribute('href', `#i-${name}`);
  svg.append(use);
  return svg;
}

/** Initials for the tile of someone without a camera: "Ann-Marie Lee" is AL. */
function initials(name: string): string {
  const words = name.trim().split(/\s+/);
  const first = [...(words[0] ?? '')][0] ?? '?';
  const last = words.length > 1 ? ([...(words.at(-1) ?? '')][0] ?? '') : '';
  return (first + last).toUpperCase();
}

/** What to write on a shared screen. */
function screenOf(person: Person | undefined): string {
  if (!person) return 'A shared screen';
  return person.self ? 'Your screen' : `${person.name}’s screen`;
}

/** A hue of one's own, the same on everybody's page. */
function hue(attendeeId: string): number {
  let sum = 0;
  for (const char of attendeeId) sum = (sum * 31 + char.charCodeAt(0)) % 360;
  return sum;
}

interface Shape {
  width: number;
  height: number;
}

/** The largest tiles of which `count` fit into a box: they may be cut as narrow as `narrowest`, but not wider than 16:9. */
export function shapeFor(count: number, box: Shape, narrowest: number): Shape {
  let best = { width: 0, height: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const room = {
      width: (box.width - GAP_PX * (columns - 1)) / columns,
      height: box.height / Math.ceil(count / columns) - GAP_PX,
    };
    const width = Math.min(room.width, room.height * WIDEST);
    const height = Math.min(room.height, width / narrowest);
    if (width * height > best.width * best.height) best = { width: Math.floor(width), height: Math.floor(height) };
  }
  return best;
}

export class Stage {
  private readonly people = new Map<string, Tile>();
  private readonly shares = new Map<string, Tile>();

  constructor(private readonly bindVideo: BindVideo) {
    const resized = new ResizeObserver(() => this.arrange());
    resized.observe($('tiles'));
    resized.observe($('stage'));
    this.stopWatching = () => resized.disconnect();
    this.arrange();
  }

  private readonly stopWatching: () => void;

  /** The whole roster, in the order in which the tiles shall stand. */
  showPeople(people: Person[]): void {
    for (const [attendeeId, tile] of this.people) {
      if (!people.some(person => person.attendeeId === attendeeId)) {
        tile.item.remove();
        this.people.delete(attendeeId);
      }
    }
    for (const [index, person] of people.entries()) {
      const tile = this.people.get(person.attendeeId) ?? this.add(this.people, $('tiles'), person.attendeeId);
      tile.item.style.order = String(index);
      tile.name.textContent = person.self ? `${person.name} (you)` : person.name;
      tile.item.querySelector('.letter')!.textContent = initials(person.name);
      tile.item.classList.toggle('self', person.self);
      const share = this.shares.get(person.attendeeId);
      if (share) share.name.textContent = screenOf(person);
    }
    this.showVolumes(people);
    this.arrange();
  }

  showVolumes(people: Person[]): void {
    for (const person of people) {
      const tile = this.people.get(person.attendeeId);
      if (!tile) continue;
      const { item } = tile;
      item.dataset.muted = String(person.muted);
      item.dataset.signal = person.signal >= 1 ? 'good' : person.signal > 0 ? 'weak' : 'lost';
      item.style.setProperty('--volume', person.muted ? '0' : person.volume.toFixed(2));
      item.querySelector<HTMLElement>('.muted')!.hidden = !person.muted;
      item.querySelector<HTMLElement>('.signal')!.hidden = person.signal >= 1;
    }
  }

  showSpeaking(attendeeIds: string[]): void {
    for (const [attendeeId, { item }] of this.people) item.classList.toggle('speaking', attendeeIds[0] === attendeeId);
  }

  /** `person` is whose picture it is, when they are known already. */
  showPicture(state: VideoTileState, attendeeId: string, content: boolean, person: Person | undefined): void {
    const group = content ? this.shares : this.people;
    const tile = group.get(attendeeId) ?? this.add(group, $(content ? 'shares' : 'tiles'), attendeeId);
    if (tile.tileId !== state.tileId) {
      tile.tileId = state.tileId;
      this.bindVideo(state.tileId!, tile.video);
    }
    if (content) tile.name.textContent = screenOf(person);
    tile.item.classList.toggle('has-picture', state.active || state.localTile);
    tile.item.classList.toggle('paused', state.paused);
    tile.item.classList.toggle('mirrored', state.localTile && !content);
    this.arrange();
  }

  removePicture(tileId: number): void {
    for (const [attendeeId, tile] of this.shares) {
      if (tile.tileId !== tileId) continue;
      tile.item.remove();
      this.shares.delete(attendeeId);
    }
    for (const tile of this.people.values()) {
      if (tile.tileId !== tileId) continue;
      tile.tileId = null;
      tile.item.classList.remove('has-picture', 'paused');
    }
    this.arrange();
  }

  clear(): void {
    this.stopWatching();
    this.people.clear();
    this.shares.clear();
    $('tiles').replaceChildren();
    $('shares').replaceChildren();
  }

  private add(group: Map<string, Tile>, list: HTMLElement, attendeeId: string): Tile {
    const item = document.createElement('li');
    item.className = 'tile';
    item.dataset.attendee = attendeeId;
    item.style.setProperty('--hue', String(hue(attendeeId)));
    const letter = document.createElement('span');
    letter.className = 'letter';
    letter.ariaHidden = 'true';
    const video = document.createElement('video');
    // Sound comes by the one audio element; a tile only shows.
    video.muted = true;
    video.playsInline = true;
    const plate = document.createElement('p');
    plate.className = 'plate';
    const name = document.createElement('span');
    name.className = 'name';
    plate.append(name, badge('muted', 'mic-off', 'muted'), badge('signal', 'signal', 'weak connection'));
    item.append(letter, video, plate);
    list.append(item);
    const tile = { item, video, name, tileId: null };
    group.set(attendeeId, tile);
    return tile;
  }

  private arrange(): void {
    const tiles = $('tiles');
    const sharing = this.shares.size > 0;
    $('stage').classList.toggle('sharing', sharing);
    const box = { width: tiles.clientWidth, height: tiles.clientHeight };
    const { width, height } = shapeFor(Math.max(1, this.people.size), box, box.width < box.height ? 1 : 4 / 3);
    tiles.style.setProperty('--tile-width', `${width}px`);
    tiles.style.setProperty('--tile-height', `${height}px`);
  }
}

function badge(className: string, iconName: string, label: string): HTMLElement {
  const element = document.createElement('span');
  element.className = `badge ${className}`;
  element.role = 'img';
  element.ariaLabel = label;
  element.hidden = true;
  element.append(icon(iconName));
  return element;
}
