package systemtest

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/interchange"
	"zeropass.dev/zeropass/internal/adversary"
	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/slip39"
)

// village is an account with everybody who has a part of it.
type village struct {
	*world
	keyFile  string
	owner    *person
	contacts []*person
	sheet    []string // words of its share and of its approval key
}

// newVillage makes an account with three contacts and a printed sheet, all of
// whose shares are proved.
func newVillage(t *testing.T) *village {
	v := &village{world: newWorld(t)}
	v.keyFile = filepath.Join(t.TempDir(), "server-keys")
	if err := server.WriteKeys(v.keyFile, v.keys); err != nil {
		t.Fatal(err)
	}
	v.owner = v.person("ann", func(i *device.InitOptions) { i.Printed = true })
	v.newSheet()
	for _, name := range []string{"bob", "cy", "di"} {
		c := v.person(name, nil)
		c.label = "what ann calls " + name
		v.contacts = append(v.contacts, c)
	}
	v.befriend(v.owner, v.contacts...)
	return v
}

// newSheet prints the owner's sheet and types its words back.
func (v *village) newSheet() {
	words := v.owner.printSheet().Words
	v.owner.confirmSheet(words)
	all := strings.Fields(words)
	v.sheet = []string{strings.Join(all[:59], " "), strings.Join(all[59:], " ")}
}

// Places of the parties in a village.
const (
	theServer = iota
	theDevice
	contact1
	contact2
	contact3
	theSheet
	partyCount
)

var partyNames = [partyCount]string{"server", "device", "contact 1", "contact 2", "contact 3", "sheet"}

// take takes everything that each party has now.
func (v *village) take() (parties [partyCount]*adversary.Party) {
	t := v.t
	t.Helper()
	v.stopServer()
	parties[theServer] = need[*adversary.Party](t)(adversary.Server(v.database(), v.keyFile))
	v.start()
	parties[theDevice] = v.takeDevice(v.owner)
	for i, c := range v.contacts {
		parties[contact1+i] = v.takeDevice(c)
	}
	parties[theSheet] = need[*adversary.Party](t)(adversary.Sheet(v.sheet...))
	for _, p := range parties {
		t.Cleanup(p.Erase)
	}
	return parties
}

func (v *village) takeDevice(p *person) *adversary.Party {
	v.t.Helper()
	return need[*adversary.Party](v.t)(adversary.Device(p.dir, []byte(passphrase)))
}

// opens returns the places of the items that parties open.
func opens(t *testing.T, items []interchange.Item, parties ...*adversary.Party) (places []int) {
	t.Helper()
	r, err := adversary.Attack(context.Background(), adversary.Targets(items), parties...)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range r.Opened {
		var place int
		if _, err := fmt.Sscanf(name, "%d:", &place); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		places = append(places, place-1)
	}
	return places
}

func places(from, to int) (list []int) {
	for i := from; i < to; i++ {
		list = append(list, i)
	}
	return list
}

// table attacks with every set of parties and wants what a function says. A set
// starts from what the sets with one party less have opened.
func table(t *testing.T, items []interchange.Item, parties [partyCount]*adversary.Party, want func(has func(...int) int) []int) {
	t.Helper()
	var together [1 << partyCount]*adversary.Party
	for set := 1; set < 1<<partyCount; set++ {
		var names []string
		var smaller []*adversary.Party
		for i, p := range parties {
			if set>>i&1 == 0 {
				continue
			}
			names = append(names, partyNames[i])
			if rest := set &^ (1 << i); rest == 0 {
				smaller = append(smaller, p)
			} else {
				smaller = append(smaller, together[rest])
			}
		}
		has := func(which ...int) (n int) {
			for _, i := range which {
				n += set >> i & 1
			}
			return n
		}
		together[set] = need[*adversary.Party](t)(adversary.Together(context.Background(), smaller...))
		if got, want := opens(t, items, together[set]), want(has); !slices.Equal(got, want) {
			t.Errorf("%s: opened %v, want %v", strings.Join(names, ", "), got, want)
		}
	}
}

// kindsOfItems is an item of every kind.
func kindsOfItems() []interchange.Item {
	card := login("card", "")
	card.Secret = &recordv1.Secret{Kind: &recordv1.Secret_Card{Card: &recordv1.Card{Number: "4111111111111111", Code: "123"}}}
	note := login("note", "")
	note.Secret = &recordv1.Secret{Notes: "codes: 8f2c-0001\nand 9d0e-0002", Kind: &recordv1.Secret_Note{Note: &recordv1.Note{}}}
	hidden := login("hidden", "")
	hidden.Secret.Fields = []*recordv1.Field{{Type: recordv1.Field_TYPE_HIDDEN, Name: "answer", Value: "a hidden answer"}}
	key := login("key", "")
	key.Secret = &recordv1.Secret{Kind: &recordv1.Secret_SshKey{SshKey: &recordv1.SshKey{PrivateKey: strings.Repeat("a private key\n", 40)}}}
	return []interchange.Item{login("site", "correct horse"), card, note, hidden, key}
}

// What opens secrets, for every set of parties: any two of the server, the device
// and a quorum, which the sheet is worth. Before and after a recovery.
func TestWhatEverySetOfPartiesOpens(t *testing.T) {
	t.Parallel()
	v := newVillage(t)
	items := kindsOfItems()
	if _, err := v.owner.Import(context.Background(), items); err != nil {
		t.Fatal(err)
	}
	v.owner.wantSecret("site", "correct horse")
	v.owner.sync()
	for _, c := range v.contacts {
		c.sync()
	}
	before := v.take()
	var words []*adversary.Party // what contacts would have written down
	for _, c := range v.contacts {
		held, err := c.Held(context.Background())
		if err != nil || len(held) != 1 {
			t.Fatalf("%s holds %d shares, %v", c.name, len(held), err)
		}
		words = append(words, need[*adversary.Party](t)(adversary.Sheet(held[0].Words)))
	}
	all := places(0, len(items))
	t.Run("before a recovery", func(t *testing.T) {
		table(t, items, before, func(has func(...int) int) []int {
			quorum := has(contact1, contact2, contact3) >= 2 || has(theSheet) == 1
			if has(theServer, theDevice) == 2 || has(theServer, theDevice) == 1 && quorum {
				return all
			}
			return nil
		})
	})

	v.owner.close() // and lost
	started := (*device.RecoveryResult)(nil)
	v.owner, started = v.newDevice("ann")
	v.approveAll(started.Phrase, v.contacts[:2]...)
	v.wait(waiting + time.Minute)
	for _, c := range v.contacts[:2] {
		c.sync()
	}
	v.owner.finish()
	if got := opens(t, items, v.takeDevice(v.owner)); got != nil {
		t.Errorf("the device that has just recovered keeps what opens %v alone", got)
	}
	v.wait(waiting + time.Minute) // the next epoch has a sheet, too
	for range 2 {                 // receipts and commit, then what that ends
		for _, c := range v.contacts {
			c.sync()
		}
		if s := v.owner.sync(); s.Head.Sequence == 0 {
			t.Fatal("nothing was synced")
		}
	}
	v.owner.add("new", "made in epoch 2")
	v.owner.sync()
	for _, c := range v.contacts {
		c.sync()
	}
	items = append(items, login("new", "made in epoch 2"))
	now := v.take()
	t.Run("after a recovery", func(t *testing.T) {
		table(t, items, now, func(has func(...int) int) []int {
			quorum := has(contact1, contact2, contact3) >= 2
			switch {
			case has(theServer, theDevice) == 2 || has(theServer, theDevice) == 1 && quorum:
				return places(0, len(items))
			case has(theDevice, theSheet) == 2:
				// The device took over its share of the epoch that the sheet is of, and
				// the ledger keeps everything. Of that epoch the server has nothing left.
				return all
			}
			return nil
		})
	})
	t.Run("with what was taken before the recovery", func(t *testing.T) { v.formerParties(t, items, before, now, words, all) })
}

// formerParties stay dangerous for the epoch that they served, together with a
// second party that kept its share of it.
func (v *village) formerParties(t *testing.T, items []interchange.Item, before, now [partyCount]*adversary.Party, words []*adversary.Party, old []int) {
	all := places(0, len(items))
	for _, test := range []struct {
		name    string
		parties []*adversary.Party
		want    []int
	}{
		// What was destroyed is gone.
		{"the old shares and the server, which destroyed its own", []*adversary.Party{words[0], words[1], words[2], before[theSheet], now[theServer]}, nil},
		{"the device of before and the contacts, which deleted their old shares", []*adversary.Party{before[theDevice], now[contact1], now[contact2], now[contact3]}, nil},
		{"the old shares and the contacts", []*adversary.Party{words[0], words[1], words[2], before[theSheet], now[contact1], now[contact2], now[contact3]}, nil},
		{"one old share, another contact and the server", []*adversary.Party{words[0], now[contact2], now[theServer]}, nil},
		{"one old share, another contact and the device", []*adversary.Party{words[0], now[contact2], now[theDevice]}, nil},
		{"the device of before and the device", []*adversary.Party{before[theDevice], now[theDevice]}, nil},

		// What somebody kept opens the old epoch. A device keeps the server's shares
		// as they were sealed, and the server's seal key outlives every epoch.
		{"the device of before and the server", []*adversary.Party{before[theDevice], now[theServer]}, old},
		{"two old shares and the device", []*adversary.Party{words[0], words[2], now[theDevice]}, old},
		{"two old shares and the device of before", []*adversary.Party{words[1], words[2], before[theDevice]}, old},
		{"two old shares and the server of before", []*adversary.Party{words[0], words[1], before[theServer]}, old},

		// A share that a contact holds is a slot of the contact's account too, whose
		// old versions stay.
		{"the server of before and the contacts", []*adversary.Party{before[theServer], now[contact1], now[contact2]}, old},
		{"the server and the contacts of before", []*adversary.Party{now[theServer], before[contact1], before[contact3]}, all},
		// The server's keys are the same in all epochs.
		{"the server of before and the device", []*adversary.Party{before[theServer], now[theDevice]}, all},
	} {
		if got := opens(t, items, test.parties...); !slices.Equal(got, test.want) {
			t.Errorf("%s: opened %v, want %v", test.name, got, test.want)
		}
	}
}

// What an adversary finds where something is to be found, so that finding nothing
// elsewhere means something.
func TestTheAdversaryFindsWhatIsThere(t *testing.T) {
	t.Parallel()
	v := newVillage(t)
	ctx := context.Background()
	items := kindsOfItems()
	if _, err := v.owner.Import(ctx, items); err != nil {
		t.Fatal(err)
	}
	v.owner.sync()
	for _, c := range v.contacts {
		c.sync()
	}
	parties := v.take()

	t.Run("a device shows titles, user names and what contacts are called, alone", func(t *testing.T) {
		var titles []interchange.Item
		for i := range 3 {
			title := fmt.Sprintf("a title of some length %d", i)
			v.owner.add(title, "correct battery")
			titles = append(titles, login("", title))
		}
		for _, c := range v.contacts {
			titles = append(titles, login("", c.label))
		}
		// Without the book of invitations: the names are those in the ledger.
		dir := filepath.Join(t.TempDir(), "ann")
		copyDir(t, v.owner.dir, dir)
		must(t, os.Remove(filepath.Join(dir, "private", "contacts")))
		parties[theDevice] = need[*adversary.Party](t)(adversary.Device(dir, []byte(passphrase)))
		if got := opens(t, titles, parties[theDevice]); !slices.Equal(got, places(0, len(titles))) {
			t.Errorf("found titles and names %v", got)
		}
		v.stopServer()
		defer v.start()
		for _, p := range []*adversary.Party{need[*adversary.Party](t)(adversary.Server(v.database(), v.keyFile)), parties[contact1], parties[theSheet]} {
			if got := opens(t, titles, p); got != nil {
				t.Errorf("somebody else found titles or names %v", got)
			}
		}
	})

	t.Run("a contact's device shows the share that it holds, alone", func(t *testing.T) {
		for i, c := range v.contacts {
			held, err := c.Held(ctx)
			if err != nil || len(held) != 1 {
				t.Fatalf("%d shares, %v", len(held), err)
			}
			share := need[*slip39.Share](t)(slip39.Parse(held[0].Words))
			target := login("", "")
			target.Secret = &recordv1.Secret{Kind: &recordv1.Secret_HeldShare{HeldShare: &recordv1.HeldShare{Share: need[[]byte](t)(share.MarshalBinary())}}}
			for j, p := range parties {
				if got := len(opens(t, []interchange.Item{target}, p)) == 1; got != (j == contact1+i) {
					t.Errorf("the share of contact %d: %s has it: %v", i+1, partyNames[j], got)
				}
			}
		}
	})

	t.Run("a secret in the server's database, in hexadecimal", func(t *testing.T) {
		v.stopServer()
		defer v.start()
		planted := filepath.Join(t.TempDir(), "planted.db")
		if err := os.WriteFile(planted, need[[]byte](t)(os.ReadFile(v.database())), 0o600); err != nil {
			t.Fatal(err)
		}
		db := need[*sql.DB](t)(sql.Open("sqlite", planted))
		if _, err := db.Exec(`UPDATE accounts SET name = name || $1`, hex.EncodeToString([]byte("a hidden answer"))); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		p := need[*adversary.Party](t)(adversary.Server(planted, v.keyFile))
		if got := opens(t, items, p); !slices.Equal(got, []int{3}) {
			t.Errorf("opened %v, want the item that was planted", got)
		}
	})

	t.Run("a secret that the server has not taken yet", func(t *testing.T) {
		v.stopServer()
		defer v.start()
		waits := login("waits", "not sent yet")
		if r, err := v.owner.Add(ctx, waits); err != nil || r.Accepted {
			t.Fatalf("%+v, %v", r, err)
		}
		if got := opens(t, append(slices.Clone(items), waits), v.takeDevice(v.owner)); !slices.Equal(got, []int{len(items)}) {
			t.Errorf("opened %v, want the one that waits", got)
		}
	})
}
