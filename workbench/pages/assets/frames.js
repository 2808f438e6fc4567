// Gradio's "Loading..." counts its seconds at every frame and is taken off the page without being
// told, so every open tab would ask for 60 frames a second for as long as it lives: a tenth of a
// core. An unbroken chain of frames that has lasted longer than any animation gets one a second.
(() => {
  "use strict";
  const LONG = 5000, PAUSE = 1000;                 // ms
  const ask = window.requestAnimationFrame.bind(window), cancel = window.cancelAnimationFrame.bind(window);
  let chain = null;                                // when the chain began whose frame is being drawn
  window.requestAnimationFrame = (draw) => {
    const began = chain ?? performance.now();
    const frame = (now) => {
      chain = began;
      try { draw(now); } finally { chain = null; }
    };
    if (performance.now() - began < LONG) return ask(frame);
    return -setTimeout(() => ask(frame), PAUSE);   // below zero: no number that a browser gives
  };
  window.cancelAnimationFrame = (number) => { if (number < 0) clearTimeout(-number); else cancel(number); };
})();
