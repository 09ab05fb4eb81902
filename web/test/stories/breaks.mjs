// What breaks under a meeting, and how the unmodified client comes through it: connections that do not return, servers
// that drain, servers that die.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Gathering, Relay, Server, shared } from '../harness.mjs';

/** Longer than a lost attendee's place is kept, and than the client waits between two attempts. */
const RETURN_MS = 60_000;

/** Two people on a server of their own, who hear each other. */
async function two(t) {
  const server = await Server.start();
  t.after(() => server.stop());
  const meeting = new Gathering(t);
  const ann = await meeting.invite('ann', await server.invite(meeting.name, 'ann'));
  const bob = await meeting.invite('bob', await server.invite(meeting.name, 'bob'));
  await ann.start({ tone: 440 });
  await bob.start({ tone: 1130 });
  await ann.hearsOnly(1130, 440);
  await bob.hearsOnly(440, 1130);
  return { server, ann, bob };
}

/** Both are back as who they were, by the second connection, and hear each other. */
async function bothAreBack(t, { ann, bob }, code) {
  for (const person of [ann, bob]) {
    await person.until('the second start', () => lab.count('started') === 2, undefined, RETURN_MS);
    const ms = await person.ask(() => lab.last('started').at - lab.event('connecting', { again: true }).at);
    t.diagnostic(`${person.name}: back ${Math.round(ms)} ms after noticing`);
    assert.equal(await person.ask(() => lab.sockets[0].closed.code), code);
    assert.equal(await person.ask(() => lab.count('stopped')), 0);
  }
  await ann.hearsOnly(1130, 440);
  await bob.hearsOnly(440, 1130);
  for (const [one, other] of [[ann, bob], [bob, ann]]) {
    assert.ok(await one.ask(id => lab.present(id), other.id), `${one.name} sees ${other.name} by the same id`);
  }
}

test('a server that drains sends everybody away with a code on which they come back', async t => {
  const place = await two(t);
  await place.server.restart();
  await bothAreBack(t, place, 4500);
});

test('a server killed with -9 and started again finds everybody back', async t => {
  const place = await two(t);
  await place.server.kill();
  await place.server.runAgain();
  await bothAreBack(t, place, 1006);
});

test('who is lost and does not come back has dropped, in the eyes of the others, and has not left', async t => {
  const relay = await Relay.to(new URL(shared.server.page));
  const meeting = new Gathering(t);
  const bob = await meeting.join('bob', { tone: 1130 });
  const ann = await meeting.invite('ann');
  await ann.start({ tone: 440, signalingUrl: relay.rewrite(ann.invitation.Meeting.MediaPlacement.SignalingUrl) });
  await bob.hearsOnly(440, 1130);
  relay.close();
  const gone = await bob.until(
    'ann go',
    id => lab.events.find(one => one.name === 'presence' && one.attendeeId === id && !one.present),
    ann.id,
    RETURN_MS,
  );
  assert.equal(gone.dropped, true);
  const tries = await ann.ask(() => lab.sockets.length);
  t.diagnostic(`ann has tried ${tries - 1} times meanwhile`);
  assert.equal(await ann.ask(() => lab.count('stopped')), 0, 'she goes on trying');
});
