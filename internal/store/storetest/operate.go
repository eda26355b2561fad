package storetest

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/store"
)

// token keeps a new token.
func (s *suite) token(note string, uses uint64) [32]byte {
	s.t.Helper()
	hash := sha256.Sum256([]byte(note))
	s.ok(s.AddToken(s.ctx, store.Token{Hash: hash, Note: note, Uses: uses, Created: s.now, Expires: s.now.Add(time.Hour)}))
	return hash
}

// register makes an account with a token.
func (s *suite) register(on store.Store, name string, hash [32]byte) error {
	entry, _ := Genesis()
	return on.Create(s.ctx, store.Creation{Spend: s.spend(), Name: name, NameKey: name, Genesis: entry, Token: &hash})
}

func testTokens(t *testing.T, s *suite) {
	hash := s.token("twice", 2)
	s.want(s.register(s, "ada", sha256.Sum256([]byte("another"))), store.ErrToken)
	if _, err := s.Named(s.ctx, "ada"); err == nil {
		t.Fatal("an account that its token did not register is there")
	}
	s.ok(s.register(s, "ada", hash))
	s.want(s.register(s, "ada", hash), store.ErrNameTaken)
	s.ok(s.register(s, "bob", hash)) // the refused one took nothing from it
	s.want(s.register(s, "carol", hash), store.ErrToken)

	late := s.token("late", 1)
	s.now = s.now.Add(time.Hour)
	s.want(s.register(s, "carol", late), store.ErrToken)

	tokens := must(s.Tokens(s.ctx))
	if len(tokens) != 2 {
		t.Fatalf("%d tokens", len(tokens))
	}
	for _, have := range tokens {
		used := map[[32]byte]uint64{hash: 2, late: 0}[have.Hash]
		if have.Used != used || have.Hash != sha256.Sum256([]byte(have.Note)) || !have.Created.Equal(start) || !have.Expires.Equal(start.Add(time.Hour)) {
			t.Errorf("the token is kept as %+v", have)
		}
	}
	s.ok(s.RevokeToken(s.ctx, late))
	s.want(s.RevokeToken(s.ctx, late), store.ErrNotFound)
	if left := must(s.Tokens(s.ctx)); len(left) != 1 || left[0].Hash != hash {
		t.Errorf("after one was revoked there are %v", left)
	}
}

// testTwoTokens lets two servers register accounts with one token.
func testTwoTokens(_ *testing.T, s *suite) {
	other := s.second()
	hash := s.token("five", 5)
	s.race(other, 5, 5, store.ErrToken, func(on store.Store, i int) error {
		return s.register(on, string(rune('a'+i)), hash)
	})
}

func testBacklog(t *testing.T, s *suite) {
	var told []string
	s.Observe(func(change bool, took time.Duration, err error) {
		told = append(told, fmt.Sprintf("%v %v %v", change, took > 0, err))
	})
	s.want(s.RevokeToken(s.ctx, [32]byte{}), store.ErrNotFound)
	if want := []string{"true true " + store.ErrNotFound.Error()}; !slices.Equal(told, want) {
		t.Errorf("transactions are told as %q, want %q", told, want)
	}
	a := s.create("ada")
	s.create("bob")
	if n := must(s.CountAccounts(s.ctx)); n != 2 {
		t.Errorf("%d accounts", n)
	}
	if b := must(s.Backlog(s.ctx)); b != (store.Backlog{}) {
		t.Errorf("nothing waits: %+v", b)
	}
	s.settings(a, store.AlarmSettings{Mail: "ada@home", Webhook: "https://ada"})
	s.ok(s.Raise(s.ctx, s.now, s.alarm(a, "kind", "first")))
	s.now = s.now.Add(time.Minute)
	s.ok(s.Raise(s.ctx, s.now, s.alarm(a, "kind", "second")))
	if b := must(s.Backlog(s.ctx)); b.Deliveries != 4 || !b.Oldest.Equal(start) {
		t.Errorf("four wait: %+v", b)
	}
	for _, d := range must(s.Begin(s.ctx, s.now, time.Minute, 2)) {
		s.ok(s.End(s.ctx, d))
	}
	if b := must(s.Backlog(s.ctx)); b.Deliveries != 2 || !b.Oldest.Equal(s.now) {
		t.Errorf("two wait: %+v", b)
	}
}
