package systemtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/internal/device"
)

// Three servers over one database are one server to devices: whatever is begun at
// one goes on at the next.
func TestThreeNodes(t *testing.T) {
	n := newNodes(t)
	ctx := context.Background()
	laptop, phone := n.twoDevices()
	item, done := n.waits(phone, func() error { return laptop.get("bank") })
	phone.confirmPending(item.ID)
	if err := <-done; err != nil {
		t.Fatal(explained(err))
	}
	testWokenAcrossNodes(t, n, laptop, phone)

	ann, contacts := n.household("ada")
	for i := range 6 {
		ann.add(fmt.Sprint("site ", i), fmt.Sprint("secret ", i))
	}
	ann.sync()
	for _, c := range contacts {
		c.sync()
	}
	ann.close() // and lost
	anew, started := n.newDevice("ada")
	n.approveAll(started.Phrase, contacts[:2]...)
	n.wait(waiting + time.Minute)
	contacts[0].sync()
	_, err := anew.RecoverFinish(ctx, device.FinishOptions{})
	wantCode(t, err, device.CodeNotYet) // one approval, on every node
	contacts[1].sync()
	n.kill(1)
	handed, _ := anew.finish()
	for i := range 6 {
		if got := handed.password(fmt.Sprint("site ", i)); got != fmt.Sprint("secret ", i) {
			t.Errorf("site %d has %q after the recovery", i, got)
		}
	}
}

// testWokenAcrossNodes opens a stream at one node and changes things at others.
func testWokenAcrossNodes(t *testing.T, n *nodes, laptop, phone *person) {
	n.only.Store(0)
	defer n.only.Store(-1)
	watch, err := phone.PrepareWatch()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	hints, ended := make(chan apiv1.Hint_Kind, 1000), make(chan error, 1)
	go func() { ended <- watch.Listen(ctx, func(kind apiv1.Hint_Kind) { hints <- kind }) }()
	hears := func(want apiv1.Hint_Kind) {
		t.Helper()
		late := time.After(10 * time.Second)
		for {
			select {
			case kind := <-hints:
				if kind == want {
					return
				}
			case err := <-ended:
				t.Fatalf("the stream ended: %v", err)
			case <-late:
				t.Fatalf("no hint %v came", want)
			}
		}
	}
	hears(apiv1.Hint_KIND_UNSPECIFIED)
	var slowest time.Duration
	for round := range 6 {
		n.only.Store(int32(round % 3)) // also the stream's own
		laptop.add(fmt.Sprint("woken ", round), "secret")
		begun := time.Now()
		hears(apiv1.Hint_KIND_LEDGER)
		slowest = max(slowest, time.Since(begun))
		if round == 2 {
			n.line.cut() // a follower goes on over another connection
		}
		for len(hints) > 0 {
			<-hints
		}
	}
	t.Logf("a stream was woken %v after the change at most", slowest.Round(time.Millisecond))
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("the stream ended with %v", err)
	}
}

// Nodes are killed and their connections to the database are cut while devices
// write. What was acknowledged is there, and once.
func TestNodesUnderFire(t *testing.T) {
	n := newNodes(t)
	const writers = 4
	var people [writers]*person
	for i := range people {
		people[i] = n.person(fmt.Sprint("writer ", i), nil)
	}
	var accepted [writers][]string // titles
	var all, late atomic.Int64
	stop := make(chan struct{})
	var group sync.WaitGroup
	for i, p := range people {
		group.Go(func() {
			for round := 0; ; round++ {
				select {
				case <-stop:
					return
				default:
				}
				title := fmt.Sprintf("secret %d of %d", round, i)
				r, err := p.Add(context.Background(), login(title, title))
				if err != nil {
					t.Errorf("%s: %s", title, explained(err))
					return
				}
				if !r.Accepted {
					late.Add(1)
					if _, err := p.Sync(context.Background()); err != nil {
						time.Sleep(20 * time.Millisecond) // no node answers yet
					}
				}
				accepted[i] = append(accepted[i], title)
				all.Add(1)
			}
		})
	}
	const rounds = 9
	for round := range rounds {
		// In the middle of writing.
		for before := all.Load(); all.Load() < before+4 && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
		n.kill(round % 3)
		n.line.cut()
		n.run(round % 3)
		time.Sleep(100 * time.Millisecond)
		n.line.cut()
	}
	close(stop)
	group.Wait()
	if t.Failed() {
		return
	}
	for i, p := range people {
		p.sync()
		checkOnce(t, n, p, accepted[i])
	}
	t.Logf("%d nodes were killed and %d connections cut; %d secrets of %d writers are there once, %d of them sent again", rounds, n.line.cuts, all.Load(), writers, late.Load())
}

// checkOnce wants a device, each node and the database to have the same ledger,
// with every secret once, and an activity log that tells of each entry once.
func checkOnce(t *testing.T, n *nodes, p *person, titles []string) {
	t.Helper()
	entries, err := p.List("")
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, e := range entries {
		have = append(have, e.Metadata.Title)
	}
	slices.Sort(have)
	want := slices.Sorted(slices.Values(titles))
	if !slices.Equal(have, want) {
		t.Fatalf("%s has %d secrets, want %d: %q, want %q", p.name, len(have), len(want), have, want)
	}
	for i := range int32(3) {
		n.only.Store(i)
		if r := p.sync(); len(r.Notes) > 0 {
			t.Errorf("node %d: %q", i, r.Notes)
		}
		p.wantSecret(titles[len(titles)-1], titles[len(titles)-1])
	}
	n.only.Store(-1)
	p.sync()
	activity, err := p.Activity(context.Background())
	if err != nil {
		t.Fatal(explained(err))
	}
	appends := 0
	for _, a := range activity {
		if a.Procedure == "Append" {
			appends++
		}
	}

	ctx := context.Background()
	conn, err := pgx.Connect(ctx, n.postgres.URL(n.name))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var sequence, stored, shares, logged int
	if err := conn.QueryRow(ctx, `SELECT sequence,
		(SELECT COUNT(*) FROM entries WHERE entries.account = accounts.account),
		(SELECT COUNT(*) FROM shares WHERE shares.account = accounts.account AND version > 0),
		(SELECT COUNT(*) FROM activities WHERE activities.account = accounts.account)
		FROM accounts WHERE name = $1`, p.name).Scan(&sequence, &stored, &shares, &logged); err != nil {
		t.Fatal(err)
	}
	if stored != sequence || shares != len(titles) || logged != len(activity) || appends != sequence-1 { // Genesis came by CreateAccount
		t.Errorf("the ledger's head is %d, and there are %d entries, appended in %d requests, %d shares for %d secrets, %d activities of %d",
			sequence, stored, appends, shares, len(titles), logged, len(activity))
	}
}
