package main

import (
	"testing"
	"time"
)

func TestPeriod(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"72h": 72 * time.Hour, "3d": 72 * time.Hour, "1d12h": 36 * time.Hour,
		"2s": 2 * time.Second, "90m": 90 * time.Minute, "365d": 365 * 24 * time.Hour,
	} {
		var p period
		if err := p.Set(text); err != nil || time.Duration(p) != want {
			t.Errorf("%s is %v, %v", text, time.Duration(p), err)
		}
		var again period
		if err := again.Set(p.String()); err != nil || again != p {
			t.Errorf("%s is written %s, which reads as %v, %v", text, p.String(), time.Duration(again), err)
		}
	}
	for _, text := range []string{"", "0", "0s", "3", "d", "-1d", "-3h", "366d", "1.5s", "3 days", "1dd", "999999999999d", "1d-2h5"} {
		p := period(time.Hour)
		if err := p.Set(text); err == nil || p != period(time.Hour) {
			t.Errorf("%q is taken as %v", text, time.Duration(p))
		}
	}
}

func TestQuorum(t *testing.T) {
	for text, want := range map[string]quorum{"2-of-3": {2, 3}, "1-of-1": {1, 1}, "16-of-16": {16, 16}} {
		var q quorum
		if err := q.Set(text); err != nil || q != want || q.String() != text {
			t.Errorf("%s is %v, %v", text, q, err)
		}
	}
	for _, text := range []string{"", "3", "2of3", "3-of-2", "1-of-3", "0-of-1", "2-of-17", "a-of-b", "2-of-3-of-4"} {
		var q quorum
		if err := q.Set(text); err == nil {
			t.Errorf("%q is taken as %v", text, q)
		}
	}
}

func TestDurationInWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Second: "1 second", 1500 * time.Millisecond: "2 seconds", time.Minute: "1 minute",
		90 * time.Second: "90 seconds", time.Hour: "1 hour", 90 * time.Minute: "90 minutes",
		72 * time.Hour: "3 days", 26 * time.Hour: "26 hours", 50 * time.Hour: "2 days",
	} {
		if got := duration(d); got != want {
			t.Errorf("%v is %q, not %q", d, got, want)
		}
	}
}
