#!/usr/bin/env node
"use strict";
// Start-up counts: one CommonJS file, compiled with V8's code cache from the build. V8 refuses a cache of another version by itself and compiles anew.
require("./load.js").load("main");
