// A network that lets no UDP through: media over TCP, to the same port.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLUE, Gathering, GREEN, Server } from '../harness.mjs';

/** The protocol of the candidate pair in use: `udp` or `tcp`. */
const protocol = person =>
  person.until('the pair in use', async () => {
    const all = await lab.stats('transport', 'local-candidate', 'candidate-pair');
    const pair = all.find(one => one.id === all.find(one => one.type === 'transport')?.selectedCandidatePairId);
    return all.find(one => one.id === pair?.localCandidateId)?.protocol;
  });

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

test('where there is UDP, it is preferred', async t => {
  const meeting = new Gathering(t);
  const ann = await meeting.join('ann', { tone: 440 });
  const [answer] = await ann.answers();
  assert.deepEqual(answer.match(/a=candidate:.*/g).map(line => line.split(' ')[2]), ['udp', 'tcp']);
  const bob = await meeting.join('bob', { tone: 1130 });
  await ann.hearsOnly(1130, 440);
  for (const person of [ann, bob]) assert.equal(await protocol(person), 'udp');
});
