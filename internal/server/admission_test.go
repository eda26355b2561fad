package server

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// small are the bounds of a machine with one processor.
func small() bounds {
	b := defaultBounds()
	b.working = [classes]int{2, 3, 2, 1}
	b.storing = [classes]int{256, 192, 128, 32}
	b.calm = [classes]int{72, 72, 72, 4}
	b.queue, b.queueOfOne = 288, 72
	return b
}

// one is an asker.
func one(n int) asker { return asker{account: [32]byte{byte(n), byte(n >> 8)}} }

// fate counts how requests of one class fared.
type fate struct {
	mu       sync.Mutex
	admitted int
	shed     int
	took     []time.Duration // from when they came until they were done
}

// ask is one request that works for so long, with a change that takes as long as the
// disk takes.
func (f *fate) ask(a *admission, c class, who asker, work, disk time.Duration) bool {
	begun := time.Now()
	p := a.enter(context.Background(), c, who)
	if p == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.shed++
		return false
	}
	time.Sleep(work)
	if disk > 0 {
		_ = p.store(func() error { time.Sleep(disk); return nil })
	}
	p.leave()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.admitted++
	f.took = append(f.took, time.Since(begun))
	return true
}

// percentile of what was not there at the beginning.
func (f *fate) percentile(p int) time.Duration {
	sorted := slices.Sorted(slices.Values(f.took))
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}

// Reveals that come twice as fast as they can be answered are answered at full speed,
// soon or not at all, and nothing else suffers from it.
func TestOverload(t *testing.T) {
	for name, disk := range map[string]time.Duration{"fast disk": 2 * time.Millisecond, "slow disk": 25 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &admission{bounds: small()}
				var group sync.WaitGroup
				var reveals, daily, urgent fate
				const work = 2 * time.Millisecond // two at a time: a thousand a second
				for i := range 20000 {
					group.Go(func() { reveals.ask(a, classReveal, one(i%500), work, disk) })
					if i%40 == 0 {
						group.Go(func() { daily.ask(a, classDaily, one(i%500), work, disk) })
						group.Go(func() { urgent.ask(a, classUrgent, one(i%500), work, disk) })
					}
					time.Sleep(500 * time.Microsecond)
				}
				group.Wait()
				if daily.shed > 0 || urgent.shed > 0 || daily.admitted != 500 || urgent.admitted != 500 {
					t.Errorf("refused %d daily and %d urgent requests", daily.shed, urgent.shed)
				}
				if reveals.shed+reveals.admitted != 20000 || reveals.admitted < 8500 {
					t.Errorf("%d reveals were answered and %d refused in ten seconds", reveals.admitted, reveals.shed)
				}
				if alone, p99 := work+disk, reveals.percentile(99); p99 > alone+30*time.Millisecond {
					t.Errorf("the 99th percentile is %v, %v alone", p99, alone)
				}
				for _, c := range a.working {
					if c != 0 {
						t.Errorf("places are taken for ever: %v", a.working)
					}
				}
			})
		})
	}
}

// Clients that ask one after the other wait for each other, and none is refused.
func TestClientsAreNoOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &admission{bounds: small()}
		var group sync.WaitGroup
		var f fate
		for i := range 64 {
			group.Go(func() {
				for range 50 {
					f.ask(a, classReveal, one(i), 4*time.Millisecond, 10*time.Millisecond)
				}
			})
		}
		group.Wait()
		if f.shed > 0 {
			t.Errorf("%d of %d were refused", f.shed, f.shed+f.admitted)
		}
	})
}

// While others wait for the disk there is work for the processor.
func TestStoringIsNoWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &admission{bounds: small()}
		var group sync.WaitGroup
		var f fate
		for i := range 64 {
			group.Go(func() { f.ask(a, classReveal, one(i), time.Millisecond, time.Second) })
		}
		group.Wait()
		if f.shed > 0 || f.percentile(100) > 1100*time.Millisecond {
			t.Errorf("%d were refused, the last took %v", f.shed, f.percentile(100))
		}
	})
}

// filled has every place taken, by reveals as far as they may.
func filled(t *testing.T) (*admission, func()) {
	t.Helper()
	a := &admission{bounds: small()}
	var places []*place
	for _, c := range []class{classReveal, classReveal, classDaily, classUrgent, classUrgent} {
		p := a.enter(t.Context(), c, one(0))
		if p == nil {
			t.Fatalf("no place for %s", classNames[c])
		}
		places = append(places, p)
	}
	return a, func() {
		for _, p := range places {
			p.leave()
			time.Sleep(time.Millisecond)
		}
	}
}

// Whoever asks in a loop waits for himself, and the most urgent go first.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, leave := filled(t)
		var group sync.WaitGroup
		var mu sync.Mutex
		var order []string
		wait := func(name string, c class, who asker) {
			group.Go(func() {
				p := a.enter(t.Context(), c, who)
				if p == nil {
					t.Errorf("%s got no place", name)
					return
				}
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
				time.Sleep(time.Millisecond)
				p.leave()
			})
			synctest.Wait()
		}
		for range 5 {
			wait("greedy", classReveal, one(1))
		}
		wait("modest", classReveal, one(2))
		wait("daily", classDaily, one(3))
		leave()
		group.Wait()
		if want := []string{"daily", "greedy", "modest", "greedy", "greedy", "greedy", "greedy"}; !slices.Equal(order, want) {
			t.Errorf("the order was %v", order)
		}
	})
}

// Networks without any account, each with as many requests as one may have that only
// say that they are urgent, hold up nobody who asks a few times as devices do.
func TestBogusUrgentRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &admission{bounds: small()}
		var group sync.WaitGroup
		var bogus, honest fate
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 40 {
			remote := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 32)
			lie := func(j int) { // each time for another account
				group.Go(func() {
					bogus.ask(a, classUrgent, asker{remote: remote, account: one(j).account}, time.Millisecond, 0)
				})
			}
			for j := range remoteBurst {
				lie(j)
			}
			group.Go(func() {
				for j := 0; ctx.Err() == nil; j++ {
					lie(j)
					time.Sleep(time.Second / remoteRate)
				}
			})
		}
		var devices sync.WaitGroup
		for i := range 100 {
			devices.Go(func() {
				time.Sleep(time.Duration(i) * 20 * time.Millisecond)
				for range 2 {
					if honest.ask(a, classUrgent, one(1000+i), time.Millisecond, 10*time.Millisecond) {
						return
					}
					time.Sleep(retrySeconds * time.Second / 2)
				}
				t.Errorf("device %d is not heard", i)
			})
		}
		devices.Wait()
		cancel()
		group.Wait()
		if bogus.shed == 0 || honest.admitted != 100 {
			t.Errorf("%d bogus requests were refused, %d devices were heard", bogus.shed, honest.admitted)
		}
	})
}

// Who waits when the server stops is refused at once; who works goes on.
func TestNobodyWaitsForTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, leave := filled(t)
		begun := time.Now()
		var group sync.WaitGroup
		for c := range classes {
			for i := range 3 {
				group.Go(func() {
					if a.enter(t.Context(), c, one(i)) != nil {
						t.Errorf("%s got a place", classNames[c])
					}
				})
			}
		}
		synctest.Wait()
		a.close()
		group.Wait()
		if a.enter(t.Context(), classUrgent, one(9)) != nil || time.Since(begun) > 0 {
			t.Errorf("they waited for %v", time.Since(begun))
		}
		leave()
		if a.working != [classes]int{} || a.shed != [classes]uint64{4, 3, 3, 3} {
			t.Errorf("places are taken: %v, refused: %v", a.working, a.shed)
		}
		if p := a.enter(t.Context(), classUrgent, one(9)); p == nil {
			t.Error("what need not wait is refused")
		} else {
			p.leave()
		}
	})
}

// A queue has an end, and one asker's part of it another.
func TestQueuesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, leave := filled(t)
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		for i := range 1000 {
			group.Go(func() { a.enter(ctx, classUrgent, one(i)) })
			group.Go(func() { a.enter(ctx, classDaily, one(1)) })
			group.Go(func() { a.enter(ctx, classBulk, one(i)) })
		}
		synctest.Wait()
		if a.queues[classUrgent].length > 288 || a.queues[classDaily].length > 72 || a.queues[classBulk].length > 288 {
			t.Errorf("%d, %d and %d wait", a.queues[classUrgent].length, a.queues[classDaily].length, a.queues[classBulk].length)
		}
		if a.shed[classUrgent] == 0 || a.shed[classDaily] == 0 || a.shed[classReveal] > 0 {
			t.Errorf("refused: %v", a.shed)
		}
		// Who goes away waits no longer, and was not refused.
		before := a.shed
		cancel()
		group.Wait()
		for c := range classes {
			if a.queues[c].length != 0 || len(a.queues[c].turns) != 0 {
				t.Errorf("%d still wait", a.queues[c].length)
			}
		}
		if a.shed != before {
			t.Errorf("refused: %v, before %v", a.shed, before)
		}
		leave()
		if a.working != [classes]int{} {
			t.Errorf("places are taken: %v", a.working)
		}
	})
}
