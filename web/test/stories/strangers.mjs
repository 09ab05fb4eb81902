// Sockets that do what no decent client does, while two people talk: the right close code for the one, and nothing
// for the neighbours.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEADLINE_MS, Gathering, RawSocket, SdkSignalFrame, shared } from '../harness.mjs';

const MALFORMED = 4400;
const REFUSED = 4403;
const TOO_SLOW = 4508;

/** A talk of two that must stay as it was, however the story goes. */
async function withNeighbours(t, story) {
  const meeting = new Gathering(t);
  const ann = await meeting.join('ann', { tone: 440 });
  const bob = await meeting.join('bob', { tone: 1130 });
  await ann.hearsOnly(1130, 440);
  const rude = async name => {
    const raw = await RawSocket.open(await shared.server.invite(meeting.name, name));
    t.after(() => raw.drop());
    return raw;
  };
  await story({ meeting, ann, bob, rude });
  await ann.hearsOnly(1130, 440);
  await bob.hearsOnly(440, 1130);
  await ann.ask(() => lab.av.realtimeSendDataMessage('story', 'still here'));
  await bob.until('a message', () => lab.event('data', { text: 'still here' }));
  for (const person of [ann, bob]) {
    assert.equal(await person.ask(() => lab.count('started')), 1, `${person.name} had to reconnect:\n${await person.story()}`);
    assert.equal(await person.ask(() => lab.count('stopped')), 0, `${person.name} was thrown out`);
  }
  assert.ok(shared.server.alive);
}

test('bad bytes end their own socket with 4400', t =>
  withNeighbours(t, async ({ rude }) => {
    const bad = {
      'a text message': socket => socket.socket.send('hello'),
      'nothing at all': socket => socket.sendBytes(Buffer.alloc(0)),
      'a wrong first byte': socket => socket.sendBytes(Buffer.of(9, 8, 7)),
      'no protobuf': socket => socket.sendBytes(Buffer.concat([Buffer.of(5), Buffer.alloc(64, 0xff)])),
      'a frame without type': socket => socket.sendBytes(Buffer.of(5, 0x08, 0x01)),
      'a frame of 2 MiB': socket => socket.sendBytes(Buffer.concat([Buffer.of(5), Buffer.alloc(2 << 20, 0x0a)])),
    };
    for (const [what, send] of Object.entries(bad)) {
      for (const joined of [false, true]) {
        const socket = await rude('rude');
        if (joined) {
          await socket.join();
          await socket.frame('INDEX');
        }
        send(socket);
        const code = await socket.closeCode();
        assert.equal(code, MALFORMED, `${what}, ${joined ? 'in the meeting' : 'at the door'}: ${code}`);
        t.diagnostic(`${what}, ${joined ? 'in the meeting' : 'at the door'}: ${code}`);
      }
    }
  }));

test('an unknown frame type is passed over, as newer clients may send it', t =>
  withNeighbours(t, async ({ rude }) => {
    const socket = await rude('new');
    await socket.join();
    await socket.frame('INDEX');
    // type 999, which no version knows: field 2, varint
    await socket.sendBytes(Buffer.of(5, 0x08, 0x01, 0x10, 0xe7, 0x07));
    await socket.send({ type: SdkSignalFrame.Type.PING_PONG, pingPong: { type: 1, pingId: 77 } });
    const { pingPong } = await socket.frame('PING_PONG');
    assert.equal(pingPong.pingId, 77);
  }));

test('a nonsense SUBSCRIBE ends its own socket only', t =>
  withNeighbours(t, async ({ rude }) => {
    for (const sdpOffer of ['', 'v=0', 'x'.repeat(100_000), 'v=0\r\nm=audio 99999 UDP/TLS/RTP/SAVPF 1000\r\n']) {
      const socket = await rude('rude');
      await socket.join();
      await socket.frame('INDEX');
      await socket.send({ type: SdkSignalFrame.Type.SUBSCRIBE, sub: { duplex: 3, sdpOffer, receiveStreamIds: [0] } });
      assert.equal(await socket.closeCode(), MALFORMED, sdpOffer.slice(0, 40));
    }
  }));

test('wrong and foreign tokens get 4403 after a good handshake', t =>
  withNeighbours(t, async ({ meeting }) => {
    const elsewhere = await shared.server.invite(`${meeting.name}-elsewhere`, 'eve');
    const here = await shared.server.invite(meeting.name, 'eve');
    for (const token of ['x', 'A'.repeat(43), elsewhere.Attendee.JoinToken, `${here.Attendee.JoinToken}x`]) {
      const socket = await RawSocket.open(here, { token });
      assert.equal(socket.socket.protocol, '_aws_wt_session');
      assert.equal(await socket.closeCode(), REFUSED, token);
    }
  }));

test('a meeting that never was gets a close, not a wait', t =>
  withNeighbours(t, async ({ meeting }) => {
    const invitation = structuredClone(await shared.server.invite(meeting.name, 'eve'));
    const placement = invitation.Meeting.MediaPlacement;
    placement.SignalingUrl = placement.SignalingUrl.replace(/[0-9a-f-]{36}/, '00000000-0000-4000-8000-000000000000');
    const socket = await RawSocket.open(invitation);
    assert.ok([REFUSED, 4410].includes(await socket.closeCode()));
  }));

test('a socket that never reads is let go with 4508 while the others talk on', { timeout: 180_000 }, t =>
  withNeighbours(t, async ({ ann, bob, rude }) => {
    const slow = await rude('slow');
    await slow.join();
    await slow.frame('INDEX');
    slow.socket.pause();
    // What fills its queue: messages of the largest size, as fast as the meeting lets them through.
    await ann.ask(() => {
      const text = 'x'.repeat(2048);
      window.flood = setInterval(() => lab.av.realtimeSendDataMessage('flood', text, 0), 12);
    });
    await bob.until('a few megabytes go by', () => lab.framesIn('DATA_MESSAGE') > 4000, undefined, 120_000);
    await ann.ask(() => clearInterval(window.flood));
    slow.socket.resume();
    // The close frame may or may not get past what is stuck in front of it; the end must come either way.
    const code = await slow.closeCode();
    t.diagnostic(`closed with ${code}`);
    assert.ok([TOO_SLOW, 1006].includes(code), `closed with ${code}`);
  }));

test('a person whose page sends rubbish is told so, and the other talks on', async t => {
  const meeting = new Gathering(t);
  const ann = await meeting.join('ann', { tone: 440 });
  const bob = await meeting.join('bob', { tone: 1130 });
  await ann.ask(() => lab.rawSend(new Uint8Array([5, 255, 255, 255, 255])));
  await ann.until('the end with code 11', () => lab.event('stopped', { code: 11 }));
  assert.deepEqual(await ann.ask(() => lab.sockets.length), 1, 'no second attempt');
  await bob.until('ann go', id => !lab.present(id), ann.id, DEADLINE_MS * 2);
  assert.equal(await bob.ask(() => lab.count('stopped')), 0);
});
