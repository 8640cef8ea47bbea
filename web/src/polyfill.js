// SPDX-License-Identifier: Apache-2.0
// <script type="module" src=".../polyfill.js"></script>: every <img src="x.jahp"> of the page is shown.
import {polyfill} from "./element.js";

polyfill();
