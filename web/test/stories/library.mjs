// The library's client (`campanile-client`, its example `meet`) in one meeting with the unmodified SDK: each hears and sees
// the other, camera and shared screen, in each codec. What Chromium sees is read from its tiles: the clips have their
// sender's number and the frame's drawn into them (`clips/make.py`).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Gathering, RED, YELLOW } from '../harness.mjs';
import { Robot } from '../robot.mjs';

const [ANN_HZ, ROBOT_HZ] = [440, 1130];

// Clip, and the sender's number in it.
for (const [clip, sender] of [['mid.vp8', 1], ['mid.h264', 2], ['l1t3.vp9', 3], ['l3t3.vp9', 4], ['l1t3.av1', 5]]) {
  test(`the library's client and a browser hear and see each other: ${clip}`, async t => {
    const meeting = new Gathering(t);
    const ann = await meeting.join('ann', { tone: ANN_HZ });
    const robot = await Robot.join(meeting, 'robot', clip, { hz: ROBOT_HZ, words: ['share'] });
    await ann.hearsOnly(ROBOT_HZ, ANN_HZ);
    for (const id of [robot.id, `${robot.id}#content`]) {
      const numbers = new Set();
      while (numbers.size < 5) {
        const seen = await ann.until(`a picture of ${id}`, id => lab.readTile(id), id);
        assert.equal(seen.sender, sender, 'the picture is the robot\'s');
        numbers.add(seen.frame);
      }
      t.diagnostic(`${id}: frames ${[...numbers].join(' ')}, ${JSON.stringify(await ann.sees(id))}`);
    }
    // And the other way: of each stream the robot counts frames, keyframes, and frames with a hole before them.
    await robot.until('hears ann', ({ heard: [hz] }) => hz === ANN_HZ);
    await ann.ask(face => lab.cameraOn(face), { colour: RED });
    await ann.ask(face => lab.shareOn(face), { colour: YELLOW, width: 320, height: 180 });
    const flows = ([frames, keyframes, holes]) => frames > 30 && keyframes > 0 && holes === 0;
    await robot.until('sees ann and her screen', ({ seen }) => Object.values(seen).filter(flows).length === 2);
    t.diagnostic(`the robot: ${JSON.stringify(robot.last)}`);
  });
}
