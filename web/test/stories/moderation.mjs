// What a moderator, or an application's server, does by the API, and what the unmodified client sees of it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { call } from '../api.mjs';
import { Gathering, shared } from '../harness.mjs';

const BAD_REQUEST = 11;
const REMOVED = 22;

const byApi = (person, method, what, body) =>
  call(shared.server, method, `/campanile/v1/meetings/${person.invitation.Meeting.MeetingId}/${what}`, body);

test('whoever is muted by a moderator is unheard and shown muted, until they may and do unmute', async t => {
  const meeting = new Gathering(t);
  const ann = await meeting.join('ann', { tone: 440 });
  const bob = await meeting.join('bob', { tone: 1130 });
  await bob.hearsOnly(440, 1130);
  const asked = performance.now();
  await byApi(ann, 'POST', `attendees/${ann.id}/mute`, { CanUnmute: false });
  await bob.until('ann muted', id => lab.volume(id)?.muted === true, ann.id);
  t.diagnostic(`call to roster of another: ${Math.round(performance.now() - asked)} ms`);
  await bob.until('silence', () => lab.hear(440)[0] < -80);
  await ann.ask(() => {
    lab.av.realtimeMuteLocalAudio();
    lab.av.realtimeUnmuteLocalAudio();
  });
  await ann.until('both frames', () => lab.framesOut('AUDIO_CONTROL') >= 2);
  await ann.ask(() => lab.av.realtimeSendDataMessage('story', 'sent after them'));
  await bob.until('what was sent after them', () => lab.event('data'));
  assert.equal(await bob.ask(id => lab.volume(id).muted, ann.id), true);
  await byApi(ann, 'PUT', `attendees/${ann.id}/unmute-permission`, { CanUnmute: true });
  await ann.ask(() => {
    lab.av.realtimeMuteLocalAudio();
    lab.av.realtimeUnmuteLocalAudio();
  });
  await bob.until('ann unmuted', id => lab.volume(id)?.muted === false, ann.id);
  await bob.hearsOnly(440, 1130);
});

test('a locked meeting takes in nobody, and whoever is removed hears of it', async t => {
  const meeting = new Gathering(t);
  const ann = await meeting.join('ann', { tone: 440 });
  const bob = await meeting.join('bob', { tone: 1130 });
  await byApi(ann, 'POST', 'lock');
  const late = await meeting.invite('late');
  await late.begin();
  await late.until('the refusal', code => lab.event('stopped', { code }), BAD_REQUEST);
  assert.deepEqual(await late.ask(() => lab.sockets.map(one => one.closed.code)), [4403]);
  await byApi(bob, 'POST', `attendees/${bob.id}/remove`);
  await bob.until('the end', code => lab.event('stopped', { code }), REMOVED);
  await ann.until('bob go', id => !lab.present(id), bob.id);
  await byApi(ann, 'DELETE', 'lock');
  const later = await meeting.join('later', { tone: 700 });
  await later.hearsOnly(440, 700);
});

test('a message sent by the API reaches everybody, and whoever comes while it lives', async t => {
  const meeting = new Gathering(t);
  const ann = await meeting.join('ann');
  const message = { Topic: 'story', Text: 'dinner is ready', LifetimeMs: 60_000, SenderExternalUserId: 'the kitchen' };
  const { IngestTimeNs } = await byApi(ann, 'POST', 'data-messages', message);
  const bob = await meeting.join('bob');
  for (const person of [ann, bob]) {
    const got = await person.until('the message', () => lab.event('data'));
    assert.deepEqual([got.text, got.fromUser, got.throttled], ['dinner is ready', 'the kitchen', false]);
    assert.ok(Math.abs(got.timestampMs - Number(IngestTimeNs) / 1e6) < 1);
  }
  await bob.ask(() => lab.av.realtimeSendDataMessage('story', 'coming', 60_000));
  await ann.until('the answer', () => lab.count('data') === 2);
  const { Messages } = await byApi(ann, 'GET', 'data-messages');
  const texts = Messages.map(({ Data }) => Buffer.from(Data, 'base64').toString());
  assert.deepEqual(texts, ['dinner is ready', 'coming']);
  assert.deepEqual(Messages.map(one => one.SenderAttendeeId), ['', bob.id]);
});
