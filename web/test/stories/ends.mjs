// How a session ends, or does not: leaving, being removed, meetings that end, cables that break.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { meet } from '../api.mjs';
import { BLUE, Gathering, Relay, Server, shared } from '../harness.mjs';

// MeetingSessionStatusCode
const LEFT = 1;
const JOINED_ELSEWHERE = 2;
const MEETING_ENDED = 5;
const BAD_REQUEST = 11;
const REMOVED = 22;

const endsWith = (person, code) => person.until(`the end with code ${code}`, code => lab.event('stopped', { code }), code);

test('trap 27: whoever leaves is out within 2 s', async t => {
  const meeting = new Gathering(t);
  const ann = await meeting.join('ann', { tone: 440 });
  const bob = await meeting.join('bob', { tone: 1130 });
  const ms = await ann.ask(async () => {
    const asked = performance.now();
    lab.av.stop();
    while (!lab.event('stopped')) await new Promise(requestAnimationFrame);
    return lab.event('stopped').at - asked;
  });
  t.diagnostic(`stop() to audioVideoDidStop: ${Math.round(ms)} ms`);
  assert.ok(ms < 2000, `${ms} ms`);
  await endsWith(ann, LEFT);
  await bob.until('ann go', id => !lab.present(id), ann.id);
});

test('who is removed hears of it, and cannot come back with the same token', async t => {
  const meeting = new Gathering(t);
  const ann = await meeting.join('ann', { tone: 440 });
  const bob = await meeting.join('bob', { tone: 1130 });
  const cat = await meeting.join('cat', { tone: 1870 });
  await meeting.kick(ann);
  await endsWith(ann, REMOVED);
  await bob.until('ann go', id => !lab.present(id), ann.id);
  await bob.hearsOnly(1870, 1130);
  const again = await meeting.invite('ann', ann.invitation);
  await again.begin();
  await endsWith(again, BAD_REQUEST);
  assert.equal(await cat.ask(() => lab.count('stopped')), 0);
});

test('a meeting that ends, ends for everyone, and nobody can join it any more', async t => {
  const meeting = new Gathering(t);
  const [ann, bob] = [await meeting.join('ann'), await meeting.join('bob')];
  const late = await meeting.invite('late');
  await meeting.end();
  await Promise.all([endsWith(ann, MEETING_ENDED), endsWith(bob, MEETING_ENDED)]);
  await late.begin();
  await endsWith(late, MEETING_ENDED);
  assert.equal(await late.ask(() => lab.sockets.length), 1, 'no second attempt');
});

test('a meeting whose time is up ends for everyone, and nobody can join it any more', { timeout: 180_000 }, async t => {
  const server = await Server.serving('lifetime-seconds = 30');
  t.after(() => server.stop());
  const { invite } = await meet(server);
  const meeting = new Gathering(t);
  const ann = await meeting.invite('ann', await invite('ann'));
  const late = await meeting.invite('late', await invite('late'));
  await ann.start();
  await ann.until('the end', code => lab.event('stopped', { code }), MEETING_ENDED, 60_000);
  const statuses = await ann.ask(() => lab.frames.filter(one => one.type === 'AUDIO_STATUS').map(one => one.frame.audioStatus.audioStatus));
  assert.deepEqual(statuses, [410]);
  await late.begin();
  await endsWith(late, MEETING_ENDED);
  assert.deepEqual(await late.ask(() => lab.sockets.map(one => one.closed.code)), [4410]);
});

test('who joins a second time from elsewhere takes over', async t => {
  const meeting = new Gathering(t);
  const bob = await meeting.join('bob', { tone: 1130 });
  const ann = await meeting.join('ann', { tone: 440 });
  const elsewhere = await meeting.invite('ann', ann.invitation);
  await elsewhere.start({ tone: 700 });
  await endsWith(ann, JOINED_ELSEWHERE);
  await bob.hearsOnly(700, 1130);
  await elsewhere.hearsOnly(1130, 700);
  assert.ok(await bob.ask(id => lab.present(id), ann.id));
});

test('trap 4: a wrong token is refused at once and for good', async t => {
  const meeting = new Gathering(t);
  const invitation = structuredClone(await shared.server.invite(meeting.name, 'eve'));
  invitation.Attendee.JoinToken = [...invitation.Attendee.JoinToken].reverse().join('');
  const eve = await meeting.invite('eve', invitation);
  await eve.begin();
  await endsWith(eve, BAD_REQUEST);
  const sockets = await eve.ask(() => lab.sockets.map(one => one.closed.code));
  assert.deepEqual(sockets, [4403]);
});

test('a token of another meeting opens nothing', async t => {
  const meeting = new Gathering(t);
  const other = new Gathering(t);
  const ann = await meeting.join('ann', { tone: 440 });
  const foreign = structuredClone(await shared.server.invite(other.name, 'eve'));
  foreign.Meeting = (await shared.server.invite(meeting.name, 'nobody')).Meeting;
  const eve = await meeting.invite('eve', foreign);
  await eve.begin();
  await endsWith(eve, BAD_REQUEST);
  assert.deepEqual(await eve.ask(() => lab.sockets.map(one => one.closed.code)), [4403]);
  assert.ok(!(await ann.ask(id => lab.present(id), eve.id)));
});

test('traps 5, 18 and 34: a cut WebSocket is mended, with the whole roster and the same pictures', async t => {
  const relay = await Relay.to(new URL(shared.server.page));
  t.after(() => relay.close());
  const meeting = new Gathering(t);
  const bob = await meeting.join('bob', { tone: 1130 });
  const cat = await meeting.join('cat');
  await bob.ask(face => lab.cameraOn(face), { colour: BLUE });
  const ann = await meeting.invite('ann');
  await ann.start({ tone: 440, signalingUrl: relay.rewrite(ann.invitation.Meeting.MediaPlacement.SignalingUrl) });
  await ann.seesColour(bob, BLUE);
  await bob.hearsOnly(440, 1130);
  await ann.until('everyone', ids => ids.every(id => lab.present(id)), [bob.id, cat.id]);
  relay.cut();
  await ann.until('the reconnecting', () => lab.event('connecting', { again: true }));
  await ann.until('the second start', () => lab.count('started') === 2);
  const ms = await ann.ask(() => lab.last('started').at - lab.event('connecting', { again: true }).at);
  t.diagnostic(`reconnected after ${Math.round(ms)} ms`);
  assert.deepEqual(await ann.ask(() => lab.sockets[0].closed), { code: 1006, clean: false });
  await ann.hearsOnly(1130, 440);
  await bob.hearsOnly(440, 1130);
  await ann.until('new frames of bob', id => lab.see(id)?.frames > 0 && performance.now() - lab.tiles.get(lab.see(id).tileId).lastFrameAt < 1000, bob.id);
  await ann.seesColour(bob, BLUE);
  // Nobody left meanwhile, in nobody's eyes.
  for (const person of [ann, bob, cat]) {
    const left = await person.ask(() => lab.events.filter(one => one.name === 'presence' && !one.present));
    assert.deepEqual(left, [], `${person.name} saw someone leave`);
  }
});

test('a server that restarts keeps meetings and tokens, and everybody comes back', async t => {
  const server = await Server.start();
  t.after(() => server.stop());
  const meeting = new Gathering(t);
  const invited = await server.invite(meeting.name, 'ann');
  const ann = await meeting.invite('ann', invited);
  const bob = await meeting.invite('bob', await server.invite(meeting.name, 'bob'));
  await ann.start({ tone: 440 });
  await bob.start({ tone: 1130 });
  await ann.hearsOnly(1130, 440);
  await server.restart();
  for (const person of [ann, bob]) await person.until('the second start', () => lab.count('started') === 2, undefined, 60_000);
  await ann.hearsOnly(1130, 440);
  await bob.hearsOnly(440, 1130);
});

test('what happens on the wire at the end (traps 25, 26)', async t => {
  const meeting = new Gathering(t);
  const [ann, bob] = [await meeting.join('ann'), await meeting.join('bob')];
  await meeting.end();
  for (const person of [ann, bob]) {
    await endsWith(person, MEETING_ENDED);
    const { statuses, errors } = await person.ask(() => ({
      statuses: lab.frames.filter(one => one.type === 'AUDIO_STATUS').map(one => one.frame.audioStatus.audioStatus),
      errors: lab.frames.filter(one => !one.out && one.frame.error?.status).length,
    }));
    assert.deepEqual(statuses, [410], 'trap 25: never a status of 0');
    assert.equal(errors, 0, 'trap 26: no error on an ordinary frame');
  }
});
