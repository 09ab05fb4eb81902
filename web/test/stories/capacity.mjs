// What is full, and what a client is told that asks for a little while: no room for a camera, none in the whole server, and
// servers that ask to come again.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { call, meet } from '../api.mjs';
import { BLUE, Gathering, RED, SdkSignalFrame, Server, shared } from '../harness.mjs';

// MeetingSessionStatusCode
const AT_CAPACITY = 4;
const BAD_REQUEST = 11;
const REMOVED = 22;

/** A server of one's own that has little room, and a meeting on it whose people `come` by their names. */
async function small(t, ...more) {
  const server = await Server.start({ more });
  t.after(() => server.stop());
  const meeting = new Gathering(t);
  const invited = async name => meeting.invite(name, await server.invite(meeting.name, name));
  const come = async (name, options = {}) => {
    const person = await invited(name);
    await person.start(options);
    return person;
  };
  return { server, meeting, invited, come };
}

test('a camera beyond the last one that may be on is refused, and taken once there is room', async t => {
  const { come } = await small(t, '--videos', '1');
  const ann = await come('ann', { tone: 440 });
  const bob = await come('bob', { tone: 1130 });
  await bob.until('that a camera may be on', () => lab.last('availability')?.canStartLocalVideo);
  await ann.ask(face => lab.cameraOn(face), { colour: RED });
  await bob.seesColour(ann, RED);
  await bob.until('that no camera may be on', () => lab.last('availability')?.canStartLocalVideo === false);
  // Bob's application does not care.
  await bob.ask(face => lab.cameraOn(face), { colour: BLUE });
  await bob.until('the refusal', () => lab.event('videoSendUnavailable'));
  const errors = await bob.ask(() => lab.frames.filter(one => !one.out && one.frame.error?.status).map(one => one.frame.error.status));
  assert.deepEqual([...new Set(errors)], [206]);
  assert.ok(!(await ann.ask(id => lab.see(id), bob.id)), 'nobody sees it');
  await bob.hearsOnly(440, 1130);
  await bob.seesColour(ann, RED);
  await ann.ask(() => lab.cameraOff());
  await bob.until('that a camera may be on', () => lab.last('availability')?.canStartLocalVideo);
  await bob.ask(face => lab.cameraOn(face), { colour: BLUE });
  await ann.seesColour(bob, BLUE);
  for (const person of [ann, bob]) assert.equal(await person.ask(() => lab.count('stopped')), 0);
});

test('whoever comes when the server is full is told so and stays out, and whoever is in may come back', async t => {
  const { meeting, invited, come } = await small(t, '--max-attendees', '2');
  const ann = await come('ann', { tone: 440 });
  const bob = await come('bob', { tone: 1130 });
  const cat = await invited('cat');
  await cat.begin();
  await cat.until('the end with code 4', code => lab.event('stopped', { code }), AT_CAPACITY);
  assert.equal(await cat.ask(() => lab.sockets.length), 1, 'no second attempt');
  // A share and a second device are of somebody who is in.
  await ann.ask(face => lab.shareOn(face), { colour: BLUE });
  await bob.seesColour(`${ann.id}#content`, BLUE);
  const tablet = await meeting.invite('bob', bob.invitation);
  await tablet.start({ tone: 700 });
  await ann.hearsOnly(700, 440);
  await tablet.ask(() => lab.av.stop());
  await ann.until('bob go', id => !lab.present(id), bob.id);
  const again = await invited('cat');
  await again.start({ tone: 1870 });
  await ann.hearsOnly(1870, 440);
});

test('a meeting has as many attendees as it may, and whose place was given to another cannot come back', async t => {
  const { invite, remove } = await meet(shared.server, { MeetingFeatures: { Attendee: { MaxCount: 2 } } });
  const meeting = new Gathering(t);
  const come = async (name, hz) => {
    const person = await meeting.invite(name, await invite(name));
    await person.start({ tone: hz });
    return person;
  };
  const [ann, bob] = [await come('ann', 440), await come('bob', 1130)];
  // The one more learns it from the application, which has no attendee to give.
  await assert.rejects(invite('cat'), { status: 400 });
  await remove(bob.invitation);
  await bob.until('the end with code 22', code => lab.event('stopped', { code }), REMOVED);
  await come('cat', 1870);
  await ann.hearsOnly(1870, 440);
  const again = await meeting.invite('bob', bob.invitation);
  await again.begin();
  await again.until('the end with code 11', code => lab.event('stopped', { code }), BAD_REQUEST);
  assert.deepEqual(await again.ask(() => lab.sockets.map(one => one.closed.code)), [4403]);
});

test('whoever comes while the server drains is asked to come again, and gets in once it does not', async t => {
  const { server, invited } = await small(t);
  await call(server, 'POST', '/campanile/v1/drain', { WithinSeconds: 1 });
  const ann = await invited('ann');
  await ann.begin({ tone: 440 });
  await ann.until('a second attempt', () => lab.sockets.filter(one => one.closed).length >= 2);
  const codes = await ann.ask(() => lab.sockets.filter(one => one.closed).map(one => one.closed.code));
  assert.deepEqual([...new Set(codes)], [4500]);
  await call(server, 'DELETE', '/campanile/v1/drain');
  await ann.until('the start', () => lab.event('started'));
  assert.equal(await ann.ask(() => lab.count('stopped')), 0);
});

test('whoever floods is closed with a code to come back on, and does', async t => {
  const { come } = await small(t);
  const bob = await come('bob', { tone: 1130 });
  const ann = await come('ann', { tone: 440 });
  await bob.hearsOnly(440, 1130);
  const ping = { timestampMs: Date.now(), type: SdkSignalFrame.Type.PING_PONG, pingPong: { type: 1, pingId: 7 } };
  const bytes = [5, ...SdkSignalFrame.encode(SdkSignalFrame.fromObject(ping)).finish()];
  await ann.ask(bytes => {
    for (let at = 0; at < 3000; at++) lab.rawSend(new Uint8Array(bytes));
  }, bytes);
  await ann.until('the second start', () => lab.count('started') === 2);
  assert.equal(await ann.ask(() => lab.sockets[0].closed.code), 4508);
  await bob.hearsOnly(440, 1130);
  assert.equal(await bob.ask(() => lab.count('started')), 1);
});
