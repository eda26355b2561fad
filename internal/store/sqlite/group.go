package sqlite

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/sqlstore"
	"zeropass.dev/zeropass/ledger"
)

// To make a change durable takes an fsync, which takes a disk longer than all the
// rest. So changes that come at the same time are made in one transaction. If one of
// them is refused all are undone, and made again, each in a savepoint of its own, so
// that what is refused is undone alone: SQLite copies every page that it may have to
// give back, and most changes are not refused. Nobody learns how a change ended before
// the transaction is durable, not even that it was refused: what it was refused for
// may be a change beside it.
//
// The first to come leads: it runs all that have come by then, on its own goroutine,
// commits them, and lets one of those lead that came meanwhile.

const (
	// mostTogether and longestGroup are how many changes a transaction takes, and how
	// long they may have taken when it takes another.
	mostTogether = 256
	longestGroup = 20 * time.Millisecond
	// A leader waits for those that it expects, for so long for each of them and for
	// longestGather at most: many share one fsync then, and the few who come one after
	// the other wait for less than it takes.
	gatherEach    = time.Millisecond
	longestGather = 25 * time.Millisecond
	// carefulGroups is how many groups have savepoints from the beginning after one in
	// which a change was refused: where many are, none is made twice.
	carefulGroups = 32
)

// group makes changes together.
type group struct {
	mu      sync.Mutex
	led     bool      // somebody leads
	queue   []*change // in the order that they came in; the leader's is among them
	wanted  int       // how many a leader waits for; 0 if it does not
	full    chan struct{}
	last    int           // how many there were when the last ones ended
	ended   time.Time     // when that was
	longest time.Duration // that changes take which are followed by another
	careful int           // how many groups are made with savepoints; the leader's
	closed  bool
	idle    chan struct{} // closed when nobody leads any more and nobody will

	commits atomic.Uint64 // that had something to make durable
}

func newGroup() *group {
	return &group{full: make(chan struct{}, 1), idle: make(chan struct{}), longest: longestGroup}
}

// change is one that is to be made.
type change struct {
	ctx   context.Context
	f     func(context.Context, sqlstore.Tx) error
	alone bool // in a transaction of its own
	err   error
	panic *panicked
	told  chan bool // that it has ended, or else that it leads now
}

// panicked is what a change panicked with.
type panicked struct {
	value any
	stack []byte
}

// Change implements [sqlstore.Database].
func (d *database) Change(ctx context.Context, f func(context.Context, sqlstore.Tx) error) error {
	return d.change(ctx, &change{f: f})
}

// ChangeOne implements [sqlstore.Database]. All are made together.
func (d *database) ChangeOne(ctx context.Context, _ ledger.AccountID, f func(context.Context, sqlstore.Tx) error) error {
	return d.Change(ctx, f)
}

// ChangeWhole implements [sqlstore.Database].
func (d *database) ChangeWhole(ctx context.Context, f func(context.Context, sqlstore.Tx) error) error {
	return d.change(ctx, &change{f: f, alone: true})
}

func (d *database) change(ctx context.Context, c *change) error {
	if d.failed.Load() {
		return store.ErrFailed
	}
	// It goes on when whoever asked is gone; and what others asked must not end with
	// this one.
	c.ctx, c.told = context.WithoutCancel(ctx), make(chan bool, 1)
	leads, err := d.group.join(c)
	if err != nil {
		return err
	}
	if leads || !<-c.told {
		d.lead()
		<-c.told
	}
	if c.panic != nil {
		panic(fmt.Sprintf("%v\n\n%s", c.panic.value, c.panic.stack))
	}
	return c.err
}

// join says whether the change leads, or else waits to be told.
func (g *group) join(c *change) (leads bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false, errClosed
	}
	g.queue = append(g.queue, c)
	if g.wanted > 0 && len(g.queue) >= g.wanted {
		g.wanted = 0
		g.full <- struct{}{}
	}
	leads = !g.led
	g.led = true
	return leads, nil
}

// close waits for all that have come, and takes no more.
func (g *group) close() {
	g.mu.Lock()
	if !g.closed && !g.led {
		close(g.idle)
	}
	g.closed = true
	g.mu.Unlock()
	<-g.idle
}

// gather waits for a moment for changes that are likely to come. Whoever was
// answered the last time, and those who came meanwhile, are likely to ask again
// soon: as many as there were are waited for. So nobody waits who is alone.
func (g *group) gather() {
	g.mu.Lock()
	g.wanted = min(g.last, mostTogether)
	most := min(time.Duration(g.wanted)*gatherEach, longestGather)
	if g.queue[0].alone || len(g.queue) >= g.wanted || time.Since(g.ended) > most {
		g.wanted = 0
		g.mu.Unlock()
		return
	}
	g.mu.Unlock()
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-g.full:
		return
	case <-timer.C:
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.wanted == 0 { // it has just become full
		<-g.full
	}
	g.wanted = 0
}

// next takes the change that is to be made after those.
func (g *group) next(before []*change) *change {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.queue) == 0 || len(before) >= mostTogether || len(before) > 0 && (g.queue[0].alone || before[0].alone) {
		return nil
	}
	c := g.queue[0]
	g.queue[0] = nil
	g.queue = g.queue[1:]
	return c
}

// pass lets another lead, if any waits, and tells the changes that have ended.
func (g *group) pass(ended []*change) {
	g.mu.Lock()
	g.last, g.ended = len(ended)+len(g.queue), time.Now()
	if g.led = len(g.queue) > 0; g.led {
		g.queue[0].told <- false
	} else if g.closed {
		close(g.idle)
	}
	g.mu.Unlock()
	for _, c := range ended {
		c.told <- true
	}
}

// lead makes the changes that wait.
func (d *database) lead() {
	d.group.gather()
	var changes []*change
	err := errors.New("sqlite: the change was not run") // unless a later line says otherwise
	defer func() {
		if err != nil {
			for _, c := range changes {
				c.err = err
			}
		}
		d.group.pass(changes)
		d.empty(changes[0].ctx)
	}()
	err = d.judge(d.together(&changes))
}

// together makes changes in one transaction, and returns an error if none of them
// was made.
func (d *database) together(changes *[]*change) error {
	first := d.group.next(nil)
	*changes = append(*changes, first)
	careful := first.alone // it may have read what cannot be read again
	if d.group.careful > 0 {
		d.group.careful--
		careful = true
	}
	err := d.attempt(changes, careful)
	if errors.Is(err, errRefused) {
		d.group.careful = carefulGroups
		err = d.attempt(changes, true)
	}
	return err
}

// errRefused: a change was refused that has no savepoint, and all are undone.
var errRefused = errors.New("sqlite: a change beside others was refused")

// attempt makes the changes, and more of those that wait, in one transaction. If it
// returns an error nothing is left of it.
func (d *database) attempt(changes *[]*change, careful bool) (err error) {
	if d.failed.Load() {
		return store.ErrFailed
	}
	ctx := (*changes)[0].ctx
	tx, err := d.write.get(ctx)
	if err != nil {
		return err
	}
	defer func() { err = also(also(err, tx.rollback()), d.write.put(tx)) }()
	if _, err := tx.exec(`BEGIN IMMEDIATE`, nil); err != nil {
		return err
	}
	begun := time.Now()
	made := 0
	for i := 0; ; i++ {
		if i == len(*changes) {
			if time.Since(begun) >= d.group.longest {
				break
			}
			c := d.group.next(*changes)
			if c == nil {
				break
			}
			*changes = append(*changes, c)
		}
		undone, err := (*changes)[i].run(tx, careful)
		if err != nil {
			return err
		}
		if !undone {
			made++
		}
	}
	if tx.running > 0 {
		return errLeft // and not after the commit
	}
	if _, err := tx.exec(`COMMIT`, nil); err != nil {
		return err
	}
	if made > 0 {
		d.group.commits.Add(1)
	}
	return nil
}

// run makes a change, in a savepoint if it is careful, and says whether it was undone.
// If it returns an error nothing is to be left of the transaction.
func (c *change) run(tx *conn, careful bool) (undone bool, err error) {
	if !careful {
		if c.call(tx); c.err == nil && c.panic == nil {
			return false, nil
		}
		if isFailure(c.err) {
			return true, c.err
		}
		return true, errRefused
	}
	if _, err := tx.exec(`SAVEPOINT change`, nil); err != nil {
		return false, err
	}
	if c.call(tx); c.err == nil && c.panic == nil {
		_, err := tx.exec(`RELEASE change`, nil)
		return false, err
	}
	// After an error of the disk SQLite may have rolled back everything, and then
	// there is no savepoint.
	if _, err := tx.exec(`ROLLBACK TO change`, nil); err != nil {
		return true, errors.Join(c.err, err)
	}
	if isFailure(c.err) {
		return true, c.err
	}
	_, err = tx.exec(`RELEASE change`, nil)
	return true, err
}

// call runs the change, and keeps how it ends, and what it panics with, for whoever
// asked.
func (c *change) call(tx *conn) {
	c.err, c.panic = nil, nil
	defer func() {
		if value := recover(); value != nil {
			c.panic = &panicked{value, debug.Stack()}
		}
	}()
	c.err = c.f(c.ctx, querier{tx})
}
