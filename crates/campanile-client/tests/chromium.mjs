// The library's client in one meeting with Chromium running the unmodified SDK: both must hear and see each other, with each
// codec in turn. What Chromium sees is read from its tile: the clips have sender and number drawn into them.
//
//   cargo build -p campanile && cargo build -p campanile-client --example meet
//   cargo xtask test            (once: installs the browser tests' packages and builds their page)
//   node crates/campanile-client/tests/chromium.mjs
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Gathering, RED, setUp, shared, tearDown } from '../../../web/test/harness.mjs';

const MEET = fileURLToPath(new URL('../../../target/debug/examples/meet', import.meta.url));
const [ANN_HZ, ROBOT_HZ, SECONDS] = [440, 1130, 12];
// Clip and the sender's number in it (clips/make.py).
const CLIPS = [['mid.vp8', 1], ['mid.h264', 2]];
const folder = mkdtempSync(join(tmpdir(), 'campanile-chromium-'));

/** The number of the frame and of its sender, from the two rows of squares on top of it; null when they are not there. */
function picture(attendeeId) {
  const tile = [...lab.tiles.values()].find(one => one.state.boundAttendeeId === attendeeId);
  if (!tile?.element?.videoWidth) return null;
  const [width, height] = [160, 90];
  const pen = new OffscreenCanvas(width, height).getContext('2d');
  pen.drawImage(tile.element, 0, 0, width, height);
  const row = y => {
    let bits = 0;
    for (let column = 0; column < 10; column++) {
      bits = (bits << 1) | (pen.getImageData(column * 16 + 8, y, 1, 1).data[1] > 128 ? 1 : 0);
    }
    return bits;
  };
  const [number, sender] = [row(8), row(24)];
  return number >> 9 === 1 && (number & 1) === 0 && sender >> 9 === 0 && (sender & 1) === 1
    ? { number: (number >> 1) & 255, sender: (sender >> 1) & 255 }
    : null;
}

await setUp();
const ending = [];
try {
  for (const [clip, sender] of CLIPS) {
    const meeting = new Gathering({ after: end => ending.push(end), diagnostic: line => console.log(line) });
    const invitation = await shared.server.invite(meeting.name, 'robot');
    const file = join(folder, 'robot.json');
    writeFileSync(file, JSON.stringify(invitation));
    const ann = await meeting.join('ann', { tone: ANN_HZ });
    await ann.ask(face => lab.cameraOn(face), { colour: RED });
    const path = fileURLToPath(new URL(`../clips/${clip}.ivf`, import.meta.url));
    const robot = spawn(MEET, [String(ROBOT_HZ), String(SECONDS), file, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    const said = [];
    createInterface({ input: robot.stdout }).on('line', line => said.push(line));
    await ann.hearsOnly(ROBOT_HZ, ANN_HZ);
    const robotId = invitation.Attendee.AttendeeId;
    await ann.until('see the robot', id => lab.event('firstFrame', { attendeeId: id }), robotId);
    await ann.until('see a second of it', id => (lab.see(id)?.frames ?? 0) > 15, robotId);
    const numbers = new Set();
    while (numbers.size < 5) {
      const seen = await ann.ask(picture, robotId);
      assert.equal(seen?.sender, sender, `${clip}: the picture is the robot's`);
      numbers.add(seen.number);
    }
    console.log(`${clip}: the browser sees`, await ann.sees(robotId), 'numbers', [...numbers]);
    await once(robot, 'exit');
    const last = said.filter(line => line.startsWith('heard')).at(-1) ?? 'nothing';
    console.log(`${clip}: the robot:`, last);
    const [, pitch, frames, keyframes, holes] = /heard: \((\d+).*seen: {\d+: \[(\d+), (\d+), (\d+)\]}/.exec(last) ?? [];
    assert.equal(Number(pitch), ANN_HZ);
    assert.ok(Number(frames) > SECONDS * 8 && Number(keyframes) > 0, 'the robot sees the browser');
    assert.equal(Number(holes), 0);
  }
} finally {
  for (const end of ending) await end();
  await tearDown();
  rmSync(folder, { recursive: true, force: true });
}
console.log('ok');
process.exit(0);
