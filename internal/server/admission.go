package server

import (
	"context"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"
)

// class is what a request is to the person whose account it concerns.
type class uint8

const (
	classUrgent class = iota // stops a thief, or is a step of a recovery
	classDaily               // backups, syncing, answers to what waits
	classReveal              // reveals and other questions
	classBulk                // what takes long for one account
	classes
)

var classNames = [classes]string{"urgent", "daily", "reveal", "bulk"}

// admission decides which requests are worked on, which wait a little, and which
// are refused, when there are more than the server can answer. It sheds by class:
// bulk work and reveals first, what keeps a person working after them, and what is
// urgent never for their sake.
//
// Few requests work at a time, a small multiple of the processors: more would make
// each of them slower and none of them more. What waits for the disk does not count
// among them, so that many changes can share one commit; it has bounds of its own.
//
// Who finds no place waits in the queue of its class. While no more are there than
// clients that ask one after the other, that is load, and there is patience. More is
// overload, until a second passes without a refusal: whoever has waited for the
// class's short time is refused then, and at once whoever would have to ("Fail at
// Scale", ACM Queue 13(8), 2015, after CoDel, RFC 8289). Nor do more wait for the disk
// than it makes durable in about three times its shortest time. So nobody who is
// admitted waits for long, however many come.
type admission struct {
	bounds bounds

	mu       sync.Mutex
	working  [classes]int // use a processor
	storing  [classes]int // wait until a change is durable
	queues   [classes]queue
	admitted [classes]uint64
	shed     [classes]uint64
	disk     disk
	closed   bool // nobody waits any more
}

// bounds are how many requests work, wait for the disk, and queue, and how long.
type bounds struct {
	// What is urgent has places of its own, and takes none from others: that it is, it
	// says itself, before its signature is checked. Those of reveals are a part of the
	// daily ones, and those of bulk work a part of them.
	working, storing [classes]int

	queue, queueOfOne int          // places of a queue, and how many one asker may have
	calm              [classes]int // how many may be there without overload
	patience, short   [classes]time.Duration
}

func defaultBounds() bounds {
	n := min(runtime.NumCPU(), runtime.GOMAXPROCS(0))
	calm := max(72, 32*n)
	return bounds{
		working:    [classes]int{2 * n, 3 * n, 2 * n, max(1, n/2)},
		storing:    [classes]int{256, 192, 128, 32},
		queue:      4 * calm,
		queueOfOne: calm,
		calm:       [classes]int{calm, calm, calm, 4 * n},
		patience:   [classes]time.Duration{5 * time.Second, time.Second, time.Second, 10 * time.Second},
		short:      [classes]time.Duration{2 * time.Second, 50 * time.Millisecond, 10 * time.Millisecond, 2 * time.Second},
	}
}

// asker is who shares a queue with others. The account is what a request claims, so
// it counts only beside the network that the request came from.
type asker struct {
	remote  netip.Prefix // zero for this machine
	account [32]byte
}

// queue has a turn for each asker: whoever asks in a loop waits for himself.
type queue struct {
	turns  []*turn // whose turn it is first
	length int
	shed   time.Time // when the last one was refused; zero without
	speed  speed     // of those who leave it for a place
}

type turn struct {
	asker   asker
	waiters []*waiter
}

type waiter struct {
	since   time.Time
	decided chan struct{} // closed when it is admitted or refused
	refused bool
}

// place returns the waiter's when it is decided.
func (w *waiter) place(a *admission, c class) *place {
	if w.refused {
		return nil
	}
	return &place{admission: a, class: c}
}

// overloadTime is how long overload lasts after a refusal.
const overloadTime = time.Second

// enter waits for a place for a request, and returns nil if there is none for it or
// ctx ends. The caller leaves.
func (a *admission) enter(ctx context.Context, c class, who asker) *place {
	a.mu.Lock()
	now := time.Now()
	q := &a.queues[c]
	if q.length == 0 && a.free(c, now) {
		a.admit(c)
		a.mu.Unlock()
		return &place{admission: a, class: c}
	}
	w := &waiter{since: now, decided: make(chan struct{})}
	if a.closed || a.isFull(c, now) || !q.push(who, w, a.bounds.queueOfOne) {
		a.refuse(c, now)
		a.mu.Unlock()
		return nil
	}
	patience := a.bounds.patience[c]
	if a.overloaded(c, now) {
		patience = a.bounds.short[c]
	}
	a.mu.Unlock()

	timer := time.NewTimer(patience)
	defer timer.Stop()
	late := false
	select {
	case <-w.decided:
		return w.place(a, c)
	case <-ctx.Done():
	case <-timer.C:
		late = true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !q.remove(who, w) {
		return w.place(a, c) // decided in the last moment
	}
	if late {
		a.refuse(c, time.Now())
	}
	return nil
}

// full says whether a request of this class would be refused as it comes: its body
// need not be read then, and it counts as refused.
func (a *admission) full(c class) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if !a.isFull(c, now) {
		return false
	}
	a.refuse(c, now)
	return true
}

// close refuses those who wait, and from now on whoever would have to.
func (a *admission) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	now := time.Now()
	for c := range classes {
		for q := &a.queues[c]; q.length > 0; {
			w := q.pop()
			w.refused = true
			a.refuse(c, now)
			close(w.decided)
		}
	}
}

func (a *admission) refuse(c class, now time.Time) {
	a.shed[c]++
	a.queues[c].shed = now
}

func (a *admission) isFull(c class, now time.Time) bool {
	q := &a.queues[c]
	if q.length >= a.bounds.queue {
		return true
	}
	if q.length == 0 || !a.overloaded(c, now) {
		return false
	}
	// How long the last of them will wait, at the speed of now.
	speed, _ := q.speed.of(now, queuePeriod)
	return float64(q.length) > speed*a.bounds.short[c].Seconds()
}

func (a *admission) overloaded(c class, now time.Time) bool {
	q := &a.queues[c]
	if now.Sub(q.shed) < overloadTime {
		return true
	}
	if c == classBulk {
		return q.length > a.bounds.calm[c]
	}
	working, storing := a.beside(c)
	return working+storing+q.length > a.bounds.calm[c]
}

// beside returns how many share the places of a class.
func (a *admission) beside(c class) (working, storing int) {
	if c == classUrgent {
		return a.working[c], a.storing[c]
	}
	for other := classDaily; other < classes; other++ {
		working += a.working[other]
		storing += a.storing[other]
	}
	return working, storing
}

// free says whether there is a place for one more of this class.
func (a *admission) free(c class, now time.Time) bool {
	if c == classBulk && (a.working[c] >= a.bounds.working[c] || a.storing[c] >= a.bounds.storing[c]) {
		return false
	}
	shared := min(c, classReveal)
	working, storing := a.beside(c)
	most := a.bounds.storing[shared]
	if c != classUrgent {
		most = a.disk.most(now, 4*a.bounds.working[shared], most)
	}
	return working < a.bounds.working[shared] && storing < most
}

func (a *admission) admit(c class) {
	a.working[c]++
	a.admitted[c]++
}

// next admits those who wait, where there is room: the lock is held.
func (a *admission) next() {
	now := time.Now()
	for c := range classes {
		q := &a.queues[c]
		for q.length > 0 && a.free(c, now) {
			w := q.pop()
			if w.refused = now.Sub(w.since) > a.bounds.short[c] && a.overloaded(c, now); w.refused {
				a.refuse(c, now)
			} else {
				q.speed.count(now, queuePeriod)
				a.admit(c)
			}
			close(w.decided)
		}
	}
}

// push puts one behind those of the same asker. It returns false for one too many.
func (q *queue) push(who asker, w *waiter, most int) bool {
	i := slices.IndexFunc(q.turns, func(t *turn) bool { return t.asker == who })
	if i < 0 {
		i = len(q.turns)
		q.turns = append(q.turns, &turn{asker: who})
	}
	if len(q.turns[i].waiters) >= most {
		return false
	}
	q.turns[i].waiters = append(q.turns[i].waiters, w)
	q.length++
	return true
}

// pop takes out who is next, and gives the next one the turn.
func (q *queue) pop() *waiter {
	t := q.turns[0]
	w := t.waiters[0]
	t.waiters = t.waiters[1:]
	q.turns = q.turns[1:]
	if len(t.waiters) > 0 {
		q.turns = append(q.turns, t)
	}
	q.length--
	return w
}

// remove takes out one who waits no longer, and returns false if he was admitted.
func (q *queue) remove(who asker, w *waiter) bool {
	for i, t := range q.turns {
		if t.asker != who {
			continue
		}
		j := slices.Index(t.waiters, w)
		if j < 0 {
			return false
		}
		t.waiters = slices.Delete(t.waiters, j, j+1)
		if len(t.waiters) == 0 {
			q.turns = slices.Delete(q.turns, i, i+1)
		}
		q.length--
		return true
	}
	return false
}

// speed is how often something happens.
type speed struct {
	begun        time.Time
	this, before int // in this period, and in the one before
}

func (s *speed) count(now time.Time, period time.Duration) {
	s.turn(now, period)
	s.this++
}

// of returns how often it happens in a second, and false if that is not known yet.
func (s *speed) of(now time.Time, period time.Duration) (float64, bool) {
	s.turn(now, period)
	rate := float64(s.before) / period.Seconds()
	since := now.Sub(s.begun)
	if since < period/4 {
		return rate, s.before > 0
	}
	return max(rate, float64(s.this)/since.Seconds()), true
}

func (s *speed) turn(now time.Time, period time.Duration) {
	switch since := now.Sub(s.begun); {
	case since > 2*period:
		s.begun, s.before, s.this = now, 0, 0
	case since > period:
		s.begun, s.before, s.this = now, s.this, 0
	}
}

// disk knows how fast changes become durable.
type disk struct {
	speed         speed
	begun         time.Time
	least, before time.Duration // that a change took in this leastTime, and in the one before; zero if there was none
}

const (
	queuePeriod = 100 * time.Millisecond
	diskPeriod  = time.Second
	leastTime   = 5 * time.Second
	leastDisk   = 10 * time.Millisecond // so that enough wait together, however fast the disk is
)

func (d *disk) count(now time.Time, took time.Duration) {
	d.speed.count(now, diskPeriod)
	if now.Sub(d.begun) > leastTime {
		d.begun, d.before, d.least = now, d.least, 0
	}
	if d.least == 0 || took < d.least {
		d.least = took
	}
}

// most returns how many may wait for it, at least so many and at most so many, so
// that none waits for long.
func (d *disk) most(now time.Time, least, most int) int {
	took := d.least
	if took == 0 || d.before > 0 && d.before < took {
		took = d.before
	}
	speed, known := d.speed.of(now, diskPeriod)
	if !known || took == 0 {
		return most
	}
	return max(least, min(most, int(speed*3*max(took, leastDisk).Seconds())))
}

// place is that of one request among those that are worked on.
type place struct {
	admission *admission
	class     class
}

// leave gives the place back.
func (p *place) leave() {
	a := p.admission
	a.mu.Lock()
	defer a.mu.Unlock()
	a.working[p.class]--
	a.next()
}

// store gives the place to others while change waits for the disk. Afterwards little
// is left to do, so nobody has to wait then.
func (p *place) store(change func() error) error {
	a := p.admission
	a.mu.Lock()
	a.working[p.class]--
	a.storing[p.class]++
	a.next()
	a.mu.Unlock()
	begun := time.Now()
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		now := time.Now()
		a.disk.count(now, now.Sub(begun))
		a.storing[p.class]--
		a.working[p.class]++
		a.next()
	}()
	return change()
}

// Admission is how one class of requests fares.
type Admission struct {
	Class    string
	Working  int    // that are worked on
	Storing  int    // whose changes wait for the disk
	Queued   int    // that wait for a place
	Admitted uint64 // since the start, and those that were refused for want of a place
	Shed     uint64
}

// Admissions returns how each class of requests fares, the most urgent first.
func (s *Server) Admissions() []Admission {
	a := s.admission
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []Admission
	for c := range classes {
		list = append(list, Admission{
			Class: classNames[c], Working: a.working[c], Storing: a.storing[c], Queued: a.queues[c].length,
			Admitted: a.admitted[c], Shed: a.shed[c],
		})
	}
	return list
}
