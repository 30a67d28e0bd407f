#!/usr/bin/env node
import "../dist/margay.js";
