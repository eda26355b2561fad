package passphrase

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestJudge(t *testing.T) {
	known := []string{"Ada Lovelace", "zeropass.example", "correct horse battery staple"}
	for text, want := range map[string]Strength{
		"":                              Weak,
		"a":                             Weak,
		"password":                      Weak,
		"hunter2":                       Weak,
		"Summer2026!":                   Weak,
		"qwertyuiop":                    Weak,
		"aaaaaaaaaaaaaaaaaaaaaaa":       Weak,
		"ada lovelace":                  Weak, // the account's name
		"zeropass.example":              Weak,
		"correct horse battery staple":  Weak, // the other passphrase
		"correct horse battery staple1": Weak,
		"first of two":                  Fair,
		"Tr0ub4dour&3":                  Fair,
		"the confirm passphrase of Ada": Strong,
		"dQw4w9WgXcQ":                   Strong,
		"ünïcödé pässwört":              Strong,
		strings.Repeat("aB3$x ", 170):   Strong,
	} {
		start := time.Now()
		if got := Judge([]byte(text), known...); got != want {
			t.Errorf("%.40q: %v, want %v", text, got, want)
		}
		if d := time.Since(start); d > 2*time.Second {
			t.Errorf("%.40q takes %v", text, d)
		}
	}
}

func TestSuggest(t *testing.T) {
	seen := map[string]bool{}
	for range 50 {
		s, err := Suggest(rand.Reader)
		if err != nil || len(strings.Fields(s)) != suggested || seen[s] {
			t.Fatalf("%q, %v", s, err)
		}
		seen[s] = true
		if Judge([]byte(s)) != Strong {
			t.Errorf("%q is not strong", s)
		}
	}
	// Every bit that is read and used counts: index 0, and the last.
	got, err := Suggest(bytes.NewReader([]byte{0, 0, 0xff, 0xff, 0, 1, 3, 0xff, 4, 0, 0, 2}))
	if want := "academic zero acid zero academic acne"; got != want || err != nil {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	if s, err := Suggest(bytes.NewReader(make([]byte, 11))); s != "" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("too little randomness: %q, %v", s, err)
	}
}
