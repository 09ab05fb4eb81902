// The page: join, be in a meeting, say good-bye. It wires the buttons to meeting.ts and what that tells to the
// screen; stage.ts draws the tiles, words.ts has the sentences.
import type { MeetingSessionStatusCode } from 'amazon-chime-sdk-js';
import { type Invitation, type Line, type Person, Meeting } from './meeting';
import { Stage } from './stage';
import { farewell, INSECURE } from './words';

function $<E extends HTMLElement = HTMLElement>(id: string): E {
  return document.getElementById(id) as E;
}

type State = 'idle' | 'joining' | 'joined' | 'reconnecting' | ReturnType<typeof farewell>['ending'];

/** `data-state` on the body is the one place where the page's state is kept; CSS and tests read it too. */
function setState(state: State): void {
  document.body.dataset.state = state;
  const inRoom = state === 'joining' || state === 'joined' || state === 'reconnecting';
  $('lobby').hidden = state !== 'idle';
  $('room').hidden = !inRoom;
  $('farewell').hidden = inRoom || state === 'idle';
  const banner = { joining: 'Joining…', reconnecting: 'The connection was interrupted. Reconnecting…' }[state as string];
  $('banner').textContent = banner ?? '';
  $('banner').hidden = !banner;
  for (const button of document.querySelectorAll<HTMLButtonElement>('#controls button:not(#leave)')) {
    button.disabled = state === 'joining';
  }
}

/** How long a notice stays: long enough to read two sentences. */
const TOAST_MS = 7000;
let toastTimer: number | undefined;

function toast(text: string): void {
  $('toast').textContent = text;
  $('toast').hidden = false;
  clearTimeout(toastTimer);
  toastTimer = window.setTimeout(() => ($('toast').hidden = true), TOAST_MS);
}

let meeting: Meeting | undefined;
let stage: Stage | undefined;
let people: Person[] = [];
let unread = 0;

// ---- coming in -----------------------------------------------------------------------------------------------

async function invite(meetingName: string, name: string): Promise<Invitation> {
  let response: Response;
  try {
    response = await fetch('demo/join', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ meeting: meetingName, name }),
    });
  } catch {
    throw new Error('The server could not be reached. Is it running, and are you on its network?');
  }
  if (!response.ok) {
    const body = await response.json().catch(() => ({}));
    const reason = body.message ?? body.Message ?? `it answered ${response.status}`;
    throw new Error(`The server did not open the meeting: ${reason}.`);
  }
  return response.json();
}

async function join(): Promise<void> {
  const name = $<HTMLInputElement>('name').value.trim();
  const meetingName = $<HTMLInputElement>('meeting').value.trim();
  if (!name || !meetingName) return;
  localStorage.setItem('campanile.name', name);
  $('lobby-problem').hidden = true;
  $('room-name').textContent = meetingName;
  document.title = `${meetingName} · Campanile`;
  history.replaceState(null, '', inviteLink(meetingName));
  setState('joining');
  showMicrophone(!$<HTMLInputElement>('with-mic').checked);
  showCamera(false);
  showSharing(false);
  try {
    const invitation = await invite(meetingName, name);
    const now = new Meeting(invitation, listener());
    meeting = now;
    stage = new Stage((tileId, element) => now.bindVideo(tileId, element));
    await now.start($<HTMLAudioElement>('ear'), {
      microphone: $<HTMLInputElement>('with-mic').checked,
      camera: $<HTMLInputElement>('with-cam').checked,
    });
  } catch (error) {
    meeting?.leave();
    tidyUp();
    setState('idle');
    $('lobby-problem').textContent = error instanceof Error ? error.message : String(error);
    $('lobby-problem').hidden = false;
  }
}

function inviteLink(meetingName: string): string {
  const link = new URL(location.pathname, location.origin);
  link.searchParams.set('meeting', meetingName);
  return link.href;
}

// ---- what the meeting tells ----------------------------------------------------------------------------------

function listener() {
  return {
    connecting: (again: boolean) => setState(again ? 'reconnecting' : 'joining'),
    connected: () => setState('joined'),
    stopped,
    people: showPeople,
    volumes: (now: Person[]) => {
      stage?.showVolumes(now);
      showOwnSignal(now.find(person => person.self));
    },
    speaking: (ids: string[]) => stage?.showSpeaking(ids),
    picture: (tile: Parameters<Stage['showPicture']>[0], attendeeId: string, content: boolean) =>
      stage?.showPicture(tile, attendeeId, content, people.find(person => person.attendeeId === attendeeId)),
    pictureGone: (tileId: number) => stage?.removePicture(tileId),
    line: showLine,
    notice: toast,
    muted: showMicrophone,
    camera: showCamera,
    sharing: showSharing,
  };
}

function stopped(code: MeetingSessionStatusCode): void {
  tidyUp();
  const { ending, title, text } = farewell(code);
  $('farewell-title').textContent = title;
  $('farewell-text').textContent = text;
  setState(ending);
  $('farewell-title').focus();
}

function tidyUp(): void {
  stage?.clear();
  stage = meeting = undefined;
  people = [];
  unread = 0;
  $('messages').replaceChildren();
  openChat(false);
  $<HTMLDialogElement>('device-dialog').close();
}

function showPeople(now: Person[]): void {
  // Oneself first, then in the order of coming.
  people = [...now].sort((a, b) => Number(b.self) - Number(a.self));
  stage?.showPeople(people);
  $('room-count').textContent = people.length === 1 ? 'Only you are here' : `${people.length} people`;
}

function showOwnSignal(self: Person | undefined): void {
  const signal = (self?.signal ?? 1) >= 1 ? 'good' : self!.signal > 0 ? 'weak' : 'bad';
  const label = `Your connection is ${signal}`;
  $('room-signal').dataset.signal = signal;
  $('room-signal').ariaLabel = label;
  $('room-signal').title = label;
}

/** Links in chat become links; everything else stays text. */
function linked(text: string): (string | HTMLAnchorElement)[] {
  return text.split(/(https?:\/\/[^\s<>"]+)/).map((part, index) => {
    if (index % 2 === 0) return part;
    const anchor = document.createElement('a');
    anchor.href = anchor.textContent = part;
    anchor.target = '_blank';
    anchor.rel = 'noopener noreferrer';
    return anchor;
  });
}

/** Chat lines kept on the page; older ones make room. */
const LINES_MAX = 500;

function showLine(line: Line): void {
  const item = document.createElement('li');
  item.classList.toggle('self', line.self);
  item.classList.toggle('undelivered', line.undelivered);
  const head = document.createElement('p');
  head.className = 'head';
  const from = document.createElement('b');
  from.textContent = line.from;
  const time = document.createElement('time');
  time.dateTime = line.at.toISOString();
  time.textContent = line.at.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
  head.append(from, ' ', time);
  const body = document.createElement('p');
  body.className = 'body';
  body.append(...linked(line.text));
  item.append(head, body);
  if (line.undelivered) {
    const note = document.createElement('p');
    note.className = 'note';
    note.textContent = 'Not delivered: too many messages at once. Send it again in a moment.';
    item.append(note);
  }
  const list = $('messages');
  list.append(item);
  while (list.childElementCount > LINES_MAX) list.firstElementChild!.remove();
  list.scrollTop = list.scrollHeight;
  if ($('chat').hidden && !line.self) showUnread(unread + 1);
}

function showUnread(count: number): void {
  unread = count;
  $('unread').hidden = count === 0;
  $('unread').textContent = String(count);
  $('unread').ariaLabel = `${count} unread`;
}

// ---- the buttons ---------------------------------------------------------------------------------------------

/** A control that is on or off: its icon, its word, and what a screen reader says. */
function showToggle(id: string, on: boolean, iconName: string, word: string): void {
  const button = $(id);
  button.querySelector('use')!.setAttribute('href', `#i-${iconName}`);
  button.querySelector('span')!.textContent = word;
  button.dataset.on = String(on);
}

function showMicrophone(muted: boolean): void {
  showToggle('mic', !muted, muted ? 'mic-off' : 'mic', muted ? 'Unmute' : 'Mute');
}

function showCamera(on: boolean): void {
  showToggle('cam', on, on ? 'cam' : 'cam-off', on ? 'Stop camera' : 'Start camera');
}

function showSharing(on: boolean): void {
  showToggle('share', on, 'share', on ? 'Stop sharing' : 'Share screen');
}

function openChat(open: boolean): void {
  $('chat').hidden = !open;
  $('chat-open').ariaExpanded = String(open);
  document.body.classList.toggle('chatting', open);
  if (open) {
    showUnread(0);
    $('chat-text').focus();
  }
}

/** Runs one action of a button at a time, so that a double click does not start a camera twice. */
function onClick(id: string, action: () => unknown): void {
  let busy = false;
  $(id).addEventListener('click', async () => {
    if (busy) return;
    busy = true;
    try {
      await action();
    } catch (error) {
      toast(error instanceof Error ? error.message : String(error));
    } finally {
      busy = false;
    }
  });
}

async function copyInvite(): Promise<void> {
  const link = inviteLink($('room-name').textContent ?? '');
  try {
    await navigator.clipboard.writeText(link);
    toast('The invite link is copied. Whoever opens it comes to this meeting.');
  } catch {
    // Without a secure context or permission there is no clipboard: show the link to copy by hand.
    toast(`Copy this link: ${link}`);
  }
}

function fill(select: HTMLSelectElement, devices: MediaDeviceInfo[], what: string): void {
  const chosen = select.value;
  select.replaceChildren(
    ...devices.map(({ deviceId, label }, index) => new Option(label || `${what} ${index + 1}`, deviceId)),
  );
  if (devices.some(device => device.deviceId === chosen)) select.value = chosen;
  select.disabled = devices.length === 0;
  if (devices.length === 0) select.append(new Option(`No ${what.toLowerCase()} found`));
}

async function showDevices(): Promise<void> {
  if (!meeting) return;
  const { microphones, cameras, outputs } = await meeting.listDevices();
  fill($('pick-mic'), microphones, 'Microphone');
  fill($('pick-cam'), cameras, 'Camera');
  fill($('pick-out'), outputs, 'Loudspeaker');
  $<HTMLDialogElement>('device-dialog').showModal();
}

function sendLine(): void {
  const field = $<HTMLInputElement>('chat-text');
  const text = field.value.trim();
  if (!text || !meeting) return;
  if (meeting.say(text)) field.value = '';
  else toast('That is too long for one message. Send it in two.');
}

function wire(): void {
  $('join-form').addEventListener('submit', event => {
    event.preventDefault();
    void join();
  });
  $('chat-form').addEventListener('submit', event => {
    event.preventDefault();
    sendLine();
  });
  onClick('mic', () => meeting?.setMuted(!meeting.isMuted));
  onClick('cam', () => meeting?.setCamera(!meeting.hasCamera));
  onClick('share', () => ($('share').dataset.on === 'true' ? meeting?.stopSharing() : meeting?.share()));
  onClick('leave', () => meeting?.leave());
  onClick('invite', copyInvite);
  onClick('devices', showDevices);
  onClick('chat-open', () => openChat(!!$('chat').hidden));
  onClick('chat-close', () => {
    openChat(false);
    $('chat-open').focus();
  });
  onClick('rejoin', join);
  onClick('elsewhere', () => {
    setState('idle');
    $('meeting').focus();
  });
  for (const [id, pick] of [
    ['pick-mic', (deviceId: string) => meeting?.pickMicrophone(deviceId)],
    ['pick-cam', (deviceId: string) => meeting?.pickCamera(deviceId)],
    ['pick-out', (deviceId: string) => meeting?.pickOutput(deviceId)],
  ] as const) {
    const select = $<HTMLSelectElement>(id);
    select.addEventListener('change', () => void pick(select.value)?.catch((error: unknown) => toast(String(error))));
  }
  document.addEventListener('keydown', event => {
    if (event.altKey && event.code === 'KeyM') $('mic').click();
    else if (event.altKey && event.code === 'KeyV') $('cam').click();
    else if (event.key === 'Escape' && !$('chat').hidden && !$<HTMLDialogElement>('device-dialog').open) openChat(false);
    else return;
    event.preventDefault();
  });
  // A closed tab says good-bye as well as it can; the server notices anyway when the socket goes.
  window.addEventListener('pagehide', () => meeting?.leave());
}

/** `?meeting=..&name=..`, or the same behind `#`, fill in the form. They never join by themselves: a link that
 *  someone else made must not switch on a microphone. */
function fillFromLink(): void {
  const given = new URLSearchParams(location.search);
  for (const [key, value] of new URLSearchParams(location.hash.slice(1))) given.set(key, value);
  const meetingField = $<HTMLInputElement>('meeting');
  const nameField = $<HTMLInputElement>('name');
  meetingField.value = given.get('meeting')?.slice(0, meetingField.maxLength) ?? '';
  nameField.value = given.get('name')?.slice(0, nameField.maxLength) ?? localStorage.getItem('campanile.name') ?? '';
  if (!nameField.value) nameField.focus();
  else if (!meetingField.value) meetingField.focus();
  else $('join').focus();
}

wire();
fillFromLink();
setState('idle');
if (!navigator.mediaDevices) {
  $('lobby-problem').textContent = INSECURE;
  $('lobby-problem').hidden = false;
  $<HTMLButtonElement>('join').disabled = true;
}
