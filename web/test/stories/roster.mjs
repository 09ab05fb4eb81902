// Who is here, and what they say to each other in writing.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Gathering, shared } from '../harness.mjs';

test('people come and go on the roster, and trap 1: a leave is a leave', async t => {
  const meeting = new Gathering(t);
  const ann = await meeting.join('ann', { tone: 440 });
  await ann.until('herself', id => lab.present(id), ann.id);
  const bob = await meeting.join('bob', { tone: 1130 });
  const seen = await ann.until('bob come', id => lab.event('presence', { attendeeId: id, present: true }), bob.id);
  assert.equal(seen.externalUserId, bob.externalUserId);
  await bob.until('ann, who was here before', id => lab.present(id), ann.id);
  await bob.ask(() => lab.av.stop());
  const gone = await ann.until('bob go', id => lab.event('presence', { attendeeId: id, present: false }), bob.id);
  assert.ok(!gone.dropped, 'bob left in good order');
  assert.ok(await ann.ask(id => lab.present(id), ann.id));
});

test('whose page just vanishes is reported as gone', async t => {
  const meeting = new Gathering(t);
  const ann = await meeting.join('ann');
  const bob = await meeting.join('bob');
  await ann.until('bob come', id => lab.present(id), bob.id);
  await bob.context.close();
  await ann.until('bob go', id => lab.event('presence', { attendeeId: id, present: false }), bob.id, 60_000);
});

test('trap 17: coming back gives a higher audio stream id, and everybody sees one come again', async t => {
  const meeting = new Gathering(t);
  const ann = await meeting.join('ann');
  const bob = await meeting.join('bob');
  await ann.until('bob come', id => lab.present(id), bob.id);
  await bob.ask(() => lab.av.stop());
  await ann.until('bob go', id => !lab.present(id), bob.id);
  const again = await meeting.invite('bob', bob.invitation);
  await again.start();
  await ann.until('bob come back', id => lab.present(id), bob.id);
  const ids = await ann.ask(
    id =>
      lab.frames
        .filter(one => one.type === 'AUDIO_STREAM_ID_INFO')
        .flatMap(one => one.frame.audioStreamIdInfo.streams)
        .filter(one => one.attendeeId === id)
        .map(one => one.audioStreamId),
    bob.id,
  );
  assert.ok(ids.length >= 2 && ids.at(-1) > ids[0], `ids ${ids}`);
});

test('data messages go both ways, and trap 30: none comes back to its sender', async t => {
  const meeting = new Gathering(t);
  const ann = await meeting.join('ann');
  const bob = await meeting.join('bob');
  await ann.ask(() => lab.av.realtimeSendDataMessage('story', 'from ann'));
  const first = await bob.until('the words of ann', () => lab.event('data'));
  assert.equal(first.text, 'from ann');
  assert.equal(first.from, ann.id);
  assert.equal(first.fromUser, ann.externalUserId);
  assert.equal(first.throttled, false);
  await bob.ask(() => {
    for (let i = 0; i < 20; i++) lab.av.realtimeSendDataMessage('story', `from bob ${i}`);
  });
  await ann.until('twenty messages', () => lab.count('data') === 20);
  const got = await ann.ask(() => lab.events.filter(one => one.name === 'data'));
  assert.deepEqual(got.map(one => one.text), Array.from({ length: 20 }, (_, i) => `from bob ${i}`));
  const times = await ann.ask(() =>
    lab.frames.filter(one => !one.out && one.type === 'DATA_MESSAGE').flatMap(one => one.frame.dataMessage.messages.map(each => each.ingestTimeNs)),
  );
  assert.ok(times.every((time, i) => i === 0 || time > times[i - 1]), 'times rise strictly');
  // A last word from ann, seen by bob, is later than any echo to him could have been.
  await ann.ask(() => lab.av.realtimeSendDataMessage('story', 'last'));
  await bob.until('the last word', () => lab.event('data', { text: 'last' }));
  assert.equal(await bob.ask(() => lab.count('data')), 2, 'bob heard himself');
});

test('a message with a lifetime waits for whoever comes late', async t => {
  const meeting = new Gathering(t);
  const ann = await meeting.join('ann');
  await ann.ask(() => {
    lab.av.realtimeSendDataMessage('story', 'gone at once');
    lab.av.realtimeSendDataMessage('story', 'one', 60_000);
    lab.av.realtimeSendDataMessage('story', 'two', 60_000);
  });
  const bob = await meeting.join('bob');
  await bob.until('two messages', () => lab.count('data') === 2);
  assert.deepEqual(await bob.ask(() => lab.events.filter(one => one.name === 'data').map(one => one.text)), ['one', 'two']);
});

test('too many messages come back to their sender as throttled, and none is lost in between', async t => {
  const meeting = new Gathering(t);
  const ann = await meeting.join('ann');
  const bob = await meeting.join('bob');
  const sent = 400;
  await ann.ask(sent => {
    for (let i = 0; i < sent; i++) lab.av.realtimeSendDataMessage('story', String(i));
  }, sent);
  await ann.until('some come back', () => lab.count('data', { throttled: true }) > 0);
  const returned = () => ann.ask(() => lab.count('data', { throttled: true }));
  await bob.until('the first two hundred', () => lab.count('data') >= 200);
  await ann.until('the last one back', sent => lab.event('data', { throttled: true, text: String(sent - 1) }), sent);
  const back = await returned();
  await bob.until('all others', count => lab.count('data') === count, sent - back);
  t.diagnostic(`${sent - back} delivered, ${back} returned`);
});

test('trap 3 and 33: tokens fit a subprotocol, and the signaling address has no query', async t => {
  const meeting = new Gathering(t);
  for (let i = 0; i < 20; i++) {
    const { Meeting, Attendee } = await shared.server.invite(meeting.name, `guest ${i}`);
    assert.match(Attendee.JoinToken, /^[A-Za-z0-9_.~-]+$/);
    assert.ok(!Attendee.AttendeeId.includes('#'));
    const url = new URL(Meeting.MediaPlacement.SignalingUrl);
    assert.equal(url.search + url.hash, '');
    assert.ok(!Meeting.MediaPlacement.SignalingUrl.includes('?'));
  }
});
