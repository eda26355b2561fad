package credential

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestSharesAreSilent(t *testing.T) {
	s := mustSplit(t, fixed(1), []byte("record"), testBinding)
	text, err := s.MarshalText()
	must(t, text, err)
	js, err := json.Marshal(struct{ A, B any }{s, *s})
	must(t, js, err)
	hidden := struct{ s Shares }{*s} // fmt calls no methods of unexported fields
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("split", "shares", s, "copy", *s)
	hiddenShown := "[secret]"
	for _, verb := range []string{"%v", "%+v", "%#v", "%d", "%x", "%s", "%z"} { // the last is none
		hiddenShown += fmt.Sprintf(verb, hidden)
	}
	for _, shown := range []string{
		hiddenShown,
		s.String(), s.GoString(), string(text), string(js), log.String(),
		fmt.Sprintf("%v %+v %#v %s %x %q %d", s, s, s, s, s, s, s),
		fmt.Sprintf("%v %+v %#v %s %x %q %d", *s, *s, *s, *s, *s, *s, *s),
		fmt.Sprintf("%v %+v", struct{ S *Shares }{s}, []Shares{*s}),
	} {
		if !strings.Contains(shown, "[secret]") {
			t.Errorf("%q", shown)
		}
		for _, share := range [][]byte{s.Share(Device), s.Share(Server), s.Share(Backup)} {
			if strings.Contains(shown, fmt.Sprintf("%x", share[:4])) || strings.Contains(shown, fmt.Sprint(share[:4])[1:9]) {
				t.Errorf("a share in %q", shown)
			}
		}
	}
}

func TestSharesErase(t *testing.T) {
	s := mustSplit(t, fixed(1), []byte("record"), testBinding)
	s.Erase()
	for _, share := range [][]byte{s.Share(Device), s.Share(Server), s.Share(Backup)} {
		if len(share) == 0 || bytes.ContainsFunc(share, func(r rune) bool { return r != 0 }) {
			t.Errorf("%x", share)
		}
	}
}

// What goes wrong is told without a byte of what it went wrong with.
func TestErrorsAreSilent(t *testing.T) {
	f := newFixture(t)
	put, sealed := mustPut(t, fixed(1), f.put)
	device, server, _ := f.open(t, put, sealed)
	bad := bytes.Clone(server)
	bad[3] ^= 1
	for _, shares := range [][][]byte{{device}, {device, bad}, {device, device}, {device, server, server}, {device, server[:50]}} {
		secret, err := OpenSecret(f.put.Account, put, shares...)
		if secret != nil || err == nil {
			t.Fatalf("%v, %v", secret, err)
		}
		for _, share := range [][]byte{device, server} {
			if strings.Contains(err.Error(), fmt.Sprintf("%x", share[:3])) || strings.Contains(err.Error(), "correct horse") {
				t.Errorf("%v", err)
			}
		}
		if !strings.Contains(err.Error(), fmt.Sprintf("slot %x, version 2, epoch 3", put.Slot)) {
			t.Errorf("which slot? %v", err)
		}
	}
}
