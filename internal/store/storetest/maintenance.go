package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

// maintained is the store under test, for the operator's commands.
func (s *suite) maintained() store.Maintained { return s.Store.(store.Maintained) }

// furnish gives an account one of each thing that is encrypted, all under key "old".
func (s *suite) furnish(a *account, id byte) {
	s.t.Helper()
	s.change(a, store.Append{Shares: []store.Share{
		{ShareID: seedID(1), Key: "old", Sealed: []byte("seed")},
		{ShareID: slotID(1, 1, 1), Key: "old", Sealed: []byte("slot")},
	}})
	k := s.keeping(a, id, 1)
	k.Kept.Key = "old"
	_, err := s.Keep(s.ctx, k)
	s.ok(err)
	settings := store.AlarmSettings{Webhook: "https://example.org", Key: "old", Secret: []byte("secret")}
	s.settings(a, settings, s.alarm(a, "kind", fmt.Sprintf("alarm %d", id)))
}

func testAccounts(t *testing.T, s *suite) {
	m := s.maintained()
	var ids []ledger.AccountID
	for _, name := range []string{"ada", "bob", "eve"} {
		ids = append(ids, s.create(name).id)
	}
	slices.SortFunc(ids, func(a, b ledger.AccountID) int { return bytes.Compare(a[:], b[:]) })
	var got []ledger.AccountID
	for after := (ledger.AccountID{}); ; {
		page := must(m.Accounts(s.ctx, after, 2))
		for _, a := range page {
			if a != must(s.Account(s.ctx, a.ID)) {
				t.Errorf("the list has %+v", a)
			}
			got = append(got, a.ID)
		}
		if len(page) == 0 {
			break
		}
		after = page[len(page)-1].ID
	}
	if !slices.Equal(got, ids) {
		t.Errorf("got %v, want %v", got, ids)
	}
	s.want(m.Lock(s.ctx, ledger.AccountID{1}, s.now), store.ErrNotFound)
	s.ok(m.Lock(s.ctx, ids[0], s.now))
	if a := must(s.Account(s.ctx, ids[0])); !a.Locked.Equal(s.now) {
		t.Errorf("locked at %v", a.Locked)
	}
	log := store.Answer{Spend: s.spend(), Account: ids[0], Head: must(s.Account(s.ctx, ids[0])).Head}
	s.want(s.Log(s.ctx, log), store.ErrHeadMoved)
	s.ok(m.Unlock(s.ctx, ids[0]))
	s.ok(s.Log(s.ctx, log))
	if a := must(s.Account(s.ctx, ids[0])); !a.Locked.IsZero() {
		t.Errorf("still locked at %v", a.Locked)
	}
}

func testRemove(t *testing.T, s *suite) {
	m := s.maintained()
	a, other := s.create("ada"), s.create("bob")
	genesis := must(ledger.ParseEntry(must(s.Entries(s.ctx, a.id, 0, 1, 1))[0]))
	for i, acct := range []*account{a, other} {
		id := byte(i + 1)
		s.furnish(acct, id)
		s.ok(s.start(acct, s.recovery(acct, id)))
		s.ok(s.join(acct, id, string(random(33)), "source"))
	}
	must(s.send(a, other, 1, "from ada", false))
	must(s.send(other, a, 1, "to ada", false))
	before := must(m.Usage(s.ctx, other.id))
	if u := must(m.Usage(s.ctx, a.id)); u.Shares != 2 || u.ShareBytes != 8 || u.Waiting != 1 || u.Recoveries != 1 || u.EntryBytes != int64(len(genesis.Bytes())) {
		t.Errorf("usage %+v", u)
	}
	s.ok(m.Remove(s.ctx, a.id, s.now))
	s.want(m.Remove(s.ctx, a.id, s.now), store.ErrNotFound)
	if u := must(m.Usage(s.ctx, a.id)); u != (store.Usage{}) {
		t.Errorf("of what was deleted there is %+v", u)
	}
	before.Waiting-- // the message from it
	if u := must(m.Usage(s.ctx, other.id)); u != before {
		t.Errorf("the other account has %+v, not %+v", u, before)
	}
	if things := must(m.Encrypted(s.ctx, a.id, "", 100)); len(things) > 0 {
		t.Errorf("left: %+v", things)
	}
	if !must(m.Removed(s.ctx, a.id)) || must(m.Removed(s.ctx, other.id)) {
		t.Error("another account is marked as deleted")
	}
	s.want(s.Create(s.ctx, store.Creation{Spend: s.spend(), Name: "ada", NameKey: "ada", Genesis: genesis}), store.ErrRemoved)
	s.create("ada") // the name is free
}

func testReencrypt(t *testing.T, s *suite) {
	m := s.maintained()
	a := s.create("ada")
	s.furnish(a, 1)
	wantUse := func(old, fresh int64) {
		t.Helper()
		use := must(m.KeyUse(s.ctx))
		if use["old"] != old || use["new"] != fresh {
			t.Errorf("keys are used %v, want %d and %d", use, old, fresh)
		}
	}
	things := must(m.Encrypted(s.ctx, a.id, "new", 100))
	kinds := map[store.EncryptedKind]int{}
	var changes []store.Reencryption
	for _, e := range things {
		kinds[e.Kind]++
		if e.Account != a.id || e.Key != "old" {
			t.Errorf("got %+v", e)
		}
		changes = append(changes, store.Reencryption{Encrypted: e, NewKey: "new", NewSealed: append([]byte("new "), e.Sealed...)})
	}
	if len(things) != 5 || kinds[store.EncryptedShare] != 2 || len(kinds) != 4 {
		t.Fatalf("encrypted are %v", kinds)
	}
	wantUse(5, 0)
	if beside := must(m.EncryptedBeside(s.ctx, a.id)); len(beside) != 3 {
		t.Errorf("beside shares: %+v", beside)
	}
	if some := must(m.Encrypted(s.ctx, a.id, "new", 1)); len(some) != 4 {
		t.Errorf("one of each kind are %d", len(some))
	}
	// One that was written again meanwhile stays.
	s.change(a, store.Append{Shares: []store.Share{{ShareID: seedID(1), Key: "old", Sealed: []byte("written again")}}})
	if n := must(m.Reencrypt(s.ctx, a.id, changes)); n != 4 {
		t.Errorf("%d were changed, not 4", n)
	}
	wantUse(1, 4)
	if n := must(m.Reencrypt(s.ctx, a.id, changes)); n != 0 {
		t.Errorf("%d were changed again", n)
	}
	shares := s.shares(a, seedID(1), slotID(1, 1, 1))
	if shares[seedID(1)] != "old:written again" || shares[slotID(1, 1, 1)] != "new:new slot" {
		t.Errorf("shares %v", shares)
	}
	if settings, _ := must2(s.AlarmSettings(s.ctx, a.id)); settings.Key != "new" || string(settings.Secret) != "new secret" {
		t.Errorf("settings %+v", settings)
	}
	if left := must(m.Encrypted(s.ctx, a.id, "new", 100)); len(left) != 1 || left[0].Share != seedID(1) {
		t.Errorf("left: %+v", left)
	}
}

// testCopy copies everything into an empty store, and back to the same bytes.
func testCopy(t *testing.T, s *suite) {
	m := s.maintained()
	if keys := must(m.Owner(s.ctx)); keys != nil {
		t.Errorf("a new store belongs to %q", keys)
	}
	s.ok(s.Claim(s.ctx, []byte("keys")))
	if keys := must(m.Owner(s.ctx)); string(keys) != "keys" {
		t.Errorf("the store belongs to %q", keys)
	}
	a := s.create("ada")
	s.append(a, 3)
	s.furnish(a, 1)
	s.ok(s.start(a, s.recovery(a, 1)))
	must(s.send(a, a, 1, "to itself", false))
	s.ok(s.AddToken(s.ctx, store.Token{Hash: [32]byte{1}, Note: "note", Uses: 2, Created: s.now, Expires: s.now.Add(time.Hour)}))
	s.ok(m.Remove(s.ctx, s.create("bob").id, s.now))

	export := func(m store.Maintained) []byte {
		t.Helper()
		var b bytes.Buffer
		s.ok(m.Export(s.ctx, &b, func(c store.Copy) error {
			if c.Accounts != 1 || string(c.Keys) != "keys" || b.Len() > 0 {
				t.Errorf("the copy has %+v", c)
			}
			return nil
		}))
		return b.Bytes()
	}
	whole := export(m)
	accept := func(context.Context, store.Maintained) error { return nil }
	s.want(m.Import(s.ctx, bytes.NewReader(whole), accept), store.ErrNotEmpty)

	empty := s.another().(store.Maintained)
	for name, b := range map[string][]byte{
		"nothing":           nil,
		"no end":            whole[:len(whole)-2],
		"half":              whole[:len(whole)/2],
		"more":              append(slices.Clone(whole), 0),
		"another number":    append(slices.Clone(whole[:len(whole)-1]), whole[len(whole)-1]^1),
		"something else":    []byte("something else that is long enough"),
		"a mark of nothing": append(slices.Clone(whole[:len("zeropass-store v1\n")]), 'X'),
	} {
		if err := empty.Import(s.ctx, bytes.NewReader(b), accept); !errors.Is(err, store.ErrCopy) {
			t.Errorf("%s: %v", name, err)
		}
	}
	newer := append(slices.Clone(whole[:len("zeropass-store v1\n")]), "T\x03new\x01\x02id"...)
	s.want(empty.Import(s.ctx, bytes.NewReader(newer), accept), store.ErrNewerSchema)
	broken := errors.New("broken pipe")
	s.want(empty.Import(s.ctx, io.MultiReader(bytes.NewReader(whole[:100]), errReader{broken}), accept), broken)
	refused := errors.New("refused")
	s.want(empty.Import(s.ctx, bytes.NewReader(whole), func(context.Context, store.Maintained) error { return refused }), refused)
	s.ok(empty.Import(s.ctx, bytes.NewReader(whole), func(ctx context.Context, m store.Maintained) error {
		if got := must(m.Account(ctx, a.id)); got.Head != a.head {
			t.Errorf("before it is committed the account ends with %v", got.Head)
		}
		return nil
	}))
	if !bytes.Equal(export(empty), whole) {
		t.Error("a copy of the copy is another")
	}
}

// What the check of a copy changes is there when the copy is, and is not when that is
// refused.
func testBeginAgain(t *testing.T, s *suite) {
	a := s.create("ada")
	r := s.recovery(a, 1)
	s.ok(s.start(a, r))
	var copied bytes.Buffer
	s.ok(s.maintained().Export(s.ctx, &copied, func(store.Copy) error { return nil }))

	refused, then := errors.New("refused"), r.Started.Add(time.Hour)
	empty := s.another().(store.Maintained)
	fill := func(end error) error {
		return empty.Import(s.ctx, bytes.NewReader(copied.Bytes()), func(ctx context.Context, m store.Maintained) error {
			s.want(m.BeginAgain(ctx, ledger.Hash{7}, then), store.ErrNotFound)
			s.ok(m.BeginAgain(ctx, r.ID, then))
			if got := must(m.Recovery(ctx, r.ID)); !got.Started.Equal(then) {
				t.Errorf("before it is committed the recovery has started at %v", got.Started)
			}
			return end
		})
	}
	s.want(fill(refused), refused)
	_, err := empty.Recovery(s.ctx, r.ID)
	s.want(err, store.ErrNotFound)
	s.ok(fill(nil))
	s.ok(empty.BeginAgain(s.ctx, r.ID, r.Started)) // it was started later
	got := must(empty.Recovery(s.ctx, r.ID))
	if r.Started = then; !got.Started.Equal(then) || got.Released || got.Sequence != r.Sequence || !bytes.Equal(got.Key, r.Key) {
		t.Errorf("got %+v, want %+v", got, r)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// another is a store without data of this kind, for the same test.
func (s *suite) another() store.Store {
	s.t.Helper()
	other := s.fresh(s.t)()
	s.t.Cleanup(func() { s.ok(other.Close()) })
	return other
}

// What is read in one view does not change, while others write.
func testView(t *testing.T, s *suite) {
	m := s.maintained()
	a := s.create("ada")
	before := must(s.Account(s.ctx, a.id))
	s.ok(m.View(s.ctx, func(ctx context.Context, inside store.Maintained) error {
		if got := must(inside.Account(ctx, a.id)); got != before {
			t.Errorf("the view has %+v, want %+v", got, before)
		}
		s.append(a, 3)
		s.create("bob")
		if got := must(inside.Account(ctx, a.id)); got != before {
			t.Errorf("later it has %+v, want %+v", got, before)
		}
		if page := must(inside.Accounts(ctx, ledger.AccountID{}, 9)); len(page) != 1 {
			t.Errorf("it has %d accounts by now", len(page))
		}
		return nil
	}))
	if got := must(s.Account(s.ctx, a.id)); got.Head != a.head {
		t.Errorf("after it the account is %+v", got)
	}
	s.want(m.View(s.ctx, func(context.Context, store.Maintained) error { return io.ErrShortBuffer }), io.ErrShortBuffer)
}
