// Replica meetings: an audience of the primary meeting, whose people can be brought on stage and sent back.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { call } from '../api.mjs';
import { BLUE, Gathering, RED, shared } from '../harness.mjs';

// MeetingSessionStatusCode
const MEETING_ENDED = 5;
const OK = 0;

/** A replica of the story's meeting; `invite` makes attendees of it. */
async function replicaOf(primary) {
  const { Meeting } = await call(shared.server, 'POST', '/meetings', {
    ClientRequestToken: randomUUID(),
    MediaRegion: 'us-east-1',
    ExternalMeetingId: 'replica',
    PrimaryMeetingId: primary.Meeting.MeetingId,
  });
  return {
    Meeting,
    invite: async name => ({ Meeting, ...(await attendee(Meeting.MeetingId, name)) }),
  };
}

const attendee = (meetingId, name) =>
  call(shared.server, 'POST', `/meetings/${meetingId}/attendees`, { ExternalUserId: `${name}-${randomUUID().slice(0, 8)}` });

const promote = (person, { AttendeeId, ExternalUserId, JoinToken }) =>
  person.ask(
    async ([attendeeId, externalUserId, joinToken]) => {
      const credentials = Object.assign(new lab.sdk.MeetingSessionCredentials(), { attendeeId, externalUserId, joinToken });
      return (await lab.av.promoteToPrimaryMeeting(credentials)).statusCode();
    },
    [AttendeeId, ExternalUserId, JoinToken],
  );

test('an audience hears and sees the primary meeting, is promoted, seen and heard, and demoted', async t => {
  const meeting = new Gathering(t);
  const ann = await meeting.join('ann', { tone: 440 });
  await ann.ask(face => lab.cameraOn(face), { colour: RED });
  const replica = await replicaOf(ann.invitation);
  const eve = await meeting.invite('eve', await replica.invite('eve'));
  const fred = await meeting.invite('fred', await replica.invite('fred'));
  await eve.start({ tone: 1130 });
  await fred.start({ tone: 1870 });

  for (const person of [eve, fred]) {
    await person.seesColour(ann, RED);
    await person.hearsOnly(440, person === eve ? 1130 : 1870);
    await person.until('itself', id => lab.present(id), person.id);
  }
  assert.ok(!(await ann.ask(ids => ids.some(id => lab.present(id)), [eve.id, fred.id])), 'ann sees nobody of the audience');
  assert.ok(!(await eve.ask(id => lab.present(id), fred.id)), 'nor do they see one another');

  const { Attendee: guest } = await attendee(ann.invitation.Meeting.MeetingId, 'guest');
  const subscribes = await eve.ask(() => lab.framesOut('SUBSCRIBE'));
  assert.equal(await promote(eve, guest), OK);
  for (const person of [ann, fred]) await person.until('the guest', id => lab.present(id), guest.AttendeeId);
  await ann.hearsOnly(1130, 440);
  assert.equal(await eve.ask(() => lab.framesOut('SUBSCRIBE')), subscribes, 'without a new offer');
  await eve.until('that a camera may be on', () => lab.last('availability')?.canStartLocalVideo);
  await eve.ask(face => lab.cameraOn(face), { colour: BLUE });
  for (const person of [ann, fred]) await person.seesColour(guest.AttendeeId, BLUE);
  await fred.hearsOnly(1130, 1870);
  await eve.ask(() => lab.av.realtimeSendDataMessage('story', 'hello from the guest'));
  const said = await ann.until('the message', () => lab.event('data'));
  assert.deepEqual([said.text, said.from], ['hello from the guest', guest.AttendeeId]);

  await eve.ask(() => lab.av.demoteFromPrimaryMeeting());
  for (const person of [ann, fred]) await person.until('the guest go', id => !lab.present(id), guest.AttendeeId);
  await ann.until('silence', () => lab.hear(1130)[0] < -80);
  await eve.hearsOnly(440, 1130);
  assert.equal(await eve.ask(() => lab.count('stopped')), 0);

  const ended = person => person.until('the end', code => lab.event('stopped', { code }), MEETING_ENDED);
  await meeting.end();
  await Promise.all([ann, eve, fred].map(ended));
});

test('whoever deletes the attendee behind a promotion ends it', async t => {
  const meeting = new Gathering(t);
  const ann = await meeting.join('ann');
  const replica = await replicaOf(ann.invitation);
  const eve = await meeting.invite('eve', await replica.invite('eve'));
  await eve.start();
  await eve.ask(() => {
    lab.av.addObserver({ audioVideoWasDemotedFromPrimaryMeeting: status => (lab.demoted = status.statusCode()) });
  });
  const meetingId = ann.invitation.Meeting.MeetingId;
  const { Attendee: guest } = await attendee(meetingId, 'guest');
  assert.equal(await promote(eve, guest), OK);
  await ann.until('the guest', id => lab.present(id), guest.AttendeeId);
  await call(shared.server, 'DELETE', `/meetings/${meetingId}/attendees/${guest.AttendeeId}`);
  const REMOVED_FROM_PRIMARY = 23;
  await eve.until('the demotion', code => lab.demoted === code, REMOVED_FROM_PRIMARY);
  await ann.until('the guest go', id => !lab.present(id), guest.AttendeeId);
  const REJECTED = 3;
  assert.equal(await promote(eve, guest), REJECTED, 'and void credentials promote nobody');
  assert.equal(await eve.ask(() => lab.count('stopped')), 0);
});
