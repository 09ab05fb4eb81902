// A network that lets no UDP through: media over TCP, to the same port.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import { BLUE, Gathering, GREEN, MediaRelay, Server } from '../harness.mjs';

/** The protocol of the candidate pair in use: `udp` or `tcp`. */
const protocol = person =>
  person.until('the pair in use', async () => {
    const all = await lab.stats('transport', 'local-candidate', 'candidate-pair');
    const pair = all.find(one => one.id === all.find(one => one.type === 'transport')?.selectedCandidatePairId);
    return all.find(one => one.id === pair?.localCandidateId)?.protocol;
  });

/** TCP and UDP at one port; a port that is free for the one may be another's for the other. */
async function openBoth(onStream, tries = 10) {
  const streams = net.createServer(onStream).listen(0, '127.0.0.1');
  await once(streams, 'listening');
  try {
    return { streams, datagrams: await MediaRelay.open(streams.address().port) };
  } catch (error) {
    streams.close();
    if (error.code !== 'EADDRINUSE' || tries === 1) throw error;
    return openBoth(onStream, tries - 1);
  }
}

test('where there is no UDP, people hear and see each other over TCP', async t => {
  const server = await Server.start({ more: ['--media-over', 'tcp'] });
  t.after(() => server.stop());
  const meeting = new Gathering(t);
  const ann = await meeting.invite('ann', await server.invite(meeting.name, 'ann'));
  const bob = await meeting.invite('bob', await server.invite(meeting.name, 'bob'));
  await ann.start({ tone: 440 });
  await bob.start({ tone: 1130 });
  const [answer] = await ann.answers();
  assert.deepEqual(answer.match(/a=candidate:.*/g).map(line => line.split(' ')[2]), ['tcp']);
  for (const person of [ann, bob]) assert.equal(await protocol(person), 'tcp');
  await ann.ask(face => lab.cameraOn(face), { colour: GREEN });
  await bob.ask(face => lab.cameraOn(face), { colour: BLUE });
  await ann.seesColour(bob, BLUE);
  await bob.seesColour(ann, GREEN);
  await ann.hearsOnly(1130, 440);
  await bob.hearsOnly(440, 1130);
  await bob.until('200 frames', id => lab.see(id).frames > 200, ann.id, 60_000);
  const { longestGapMs } = await bob.sees(ann);
  t.diagnostic(`200 frames over TCP, the longest gap ${Math.round(longestGapMs)} ms`);
});

test('where UDP is announced and every datagram lost, the call goes over TCP all the same', async t => {
  // A firewall: nothing passes by UDP, and TCP to the same port does.
  let server;
  const { streams, datagrams } = await openBoth(inside => {
    const media = new URL(`tcp://${server.media}`);
    const outside = net.connect(Number(media.port), media.hostname);
    for (const [from, to] of [[inside, outside], [outside, inside]]) from.on('error', () => to.destroy()).pipe(to);
  });
  t.after(() => [streams, datagrams].forEach(one => one.close()));
  datagrams.gone = true;
  server = await Server.start({ more: ['--media-public', datagrams.address] });
  t.after(() => server.stop());
  const meeting = new Gathering(t);
  const ann = await meeting.invite('ann', await server.invite(meeting.name, 'ann'));
  const bob = await meeting.invite('bob', await server.invite(meeting.name, 'bob'));
  await ann.start({ tone: 440 });
  await bob.start({ tone: 1130 });
  const [answer] = await ann.answers();
  assert.deepEqual(answer.match(/a=candidate:.*/g).map(line => line.split(' ')[2]), ['udp', 'tcp']);
  for (const person of [ann, bob]) assert.equal(await protocol(person), 'tcp');
  await ann.hearsOnly(1130, 440);
  await bob.hearsOnly(440, 1130);
});

test('where there is UDP, it is preferred', async t => {
  const meeting = new Gathering(t);
  const ann = await meeting.join('ann', { tone: 440 });
  const [answer] = await ann.answers();
  assert.deepEqual(answer.match(/a=candidate:.*/g).map(line => line.split(' ')[2]), ['udp', 'tcp']);
  const bob = await meeting.join('bob', { tone: 1130 });
  await ann.hearsOnly(1130, 440);
  for (const person of [ann, bob]) assert.equal(await protocol(person), 'udp');
});
