package main

import (
	"testing"
	"testing/synctest"
	"time"
)

// Where every stream of hints is refused at once, watch asks every 30 seconds before
// long; where one lived, it asks soon again.
func TestWatchWithoutHints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watching{}
		wait := func(lived time.Duration) time.Duration {
			ended := make(chan struct{})
			close(ended)
			w.stream = &hints{began: time.Now().Add(-lived), hint: make(chan struct{}, 1), ended: ended}
			start := time.Now()
			if err := w.wait(t.Context(), watchPoll); err != nil || w.stream != nil {
				t.Fatalf("%v, stream %v", err, w.stream)
			}
			return time.Since(start)
		}
		for i, seconds := range []time.Duration{1, 2, 4, 8, 16, 30, 30, 30} {
			if got := wait(0); got != seconds*time.Second {
				t.Errorf("after refusal %d it waits %v, want %ds", i+1, got, seconds)
			}
		}
		if got := wait(watchPoll); got != busyPause {
			t.Errorf("after a stream that lived it waits %v", got)
		}
		w.expiry = time.Now().Add(500 * time.Millisecond)
		if got := wait(0); got != 500*time.Millisecond {
			t.Errorf("with a question that expires it waits %v", got)
		}
	})
}
