// Every story, in one process, so that they share one browser and one server. `node --test
// --test-name-pattern=<words> test/all.test.mjs` runs some of them.
import { after, before } from 'node:test';
import { setUp, tearDown } from './harness.mjs';
import './stories/hearing.mjs';
import './stories/seeing.mjs';
import './stories/codecs.mjs';
import './stories/grid.mjs';
import './stories/roster.mjs';
import './stories/content.mjs';
import './stories/sizes.mjs';
import './stories/ends.mjs';
import './stories/breaks.mjs';
import './stories/capacity.mjs';
import './stories/readiness.mjs';
import './stories/strangers.mjs';
import './stories/replicas.mjs';
import './stories/moderation.mjs';
import './stories/tcp.mjs';
import './stories/narrow.mjs';
import './stories/firefox.mjs';
import './stories/page.mjs';
import './stories/https.mjs';
import './stories/library.mjs';

before(setUp);
after(tearDown);
