package postgres

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync"
	"time"

	"zeropass.dev/zeropass/internal/store/sqlstore"
	"zeropass.dev/zeropass/ledger"
)

// Most changes of a busy server are of one kind: they lock an account, ask how it
// stands, and add rows to it. Each would take two round trips and a commit of its own.
// So those that come at the same time, of different accounts, are made in one
// transaction: what they ask goes together, and so does what they add.
//
// It is a first attempt only. If anything goes wrong with it, if one of them is refused
// or waits for a lock, all of it is undone, and each change is made again alone, as if
// nothing had been. So what one is refused for is never another beside it, and accounts
// wait for each other only for a moment. The token of each says whether such a
// transaction was committed of which nobody knew.
//
// The changes run in the order of their accounts. So transactions of several servers
// lock accounts in one order.

const (
	// mostTogether is how many changes a transaction takes.
	mostTogether = 64
	// Changes wait for those that are expected, for so long for each of them and for
	// longestGather at most.
	gatherEach    = time.Millisecond
	longestGather = 5 * time.Millisecond
	// aloneAfter is how many changes are made alone after an attempt together that
	// failed: where many do, few are made twice.
	aloneAfter = 64
)

// waitTogether begins changes that are made together: how long they wait for locks.
const waitTogether = `set local lock_timeout = '50ms'`

// errTogether: the change cannot be made with others, or others cannot with it.
var errTogether = errors.New("postgres: the changes are made again, each alone")

// gathering is the changes that are to be made together.
type gathering struct {
	mu     sync.Mutex
	led    bool // a goroutine makes them
	queue  []*member
	wanted int           // how many it waits for; 0 if it does not
	full   chan struct{} // when so many have come
	last   int           // how many there were when the last ones ended
	ended  time.Time     // when that was
	alone  int           // how many are made alone from now on
}

// member is a change that is made with others.
type member struct {
	account ledger.AccountID
	waits   []question
	places  []any        // of the question that waits for its answer
	answer  error        // that it has
	run     chan error   // it may go on, with this error
	stopped chan *member // to whom it says that it has asked, or ended
	ended   bool
	err     error // that it ended with

	committed bool
	unknown   bool // or it may be
}

var _ sqlstore.Tx = (*member)(nil)

// ChangeOne implements [sqlstore.Database].
func (d *database) ChangeOne(ctx context.Context, account ledger.AccountID, f func(context.Context, sqlstore.Tx) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), changeTime)
	defer cancel()
	m := &member{account: account, run: make(chan error, 1), waits: make([]question, 0, 4)}
	if d.failed.Load() || !d.join(m) {
		return d.change(ctx, false, f)
	}
	if err := <-m.run; err == nil {
		m.make(ctx, f)
		<-m.run
	}
	if m.committed {
		return nil
	}
	return d.change(ctx, m.unknown, f)
}

// make runs the change until it has ended.
func (m *member) make(ctx context.Context, f func(context.Context, sqlstore.Tx) error) {
	m.err = errTogether // if it panics
	defer func() {
		m.ended = true
		m.stopped <- m
	}()
	m.err = f(ctx, m)
}

// ask waits for the answers to what waits.
func (m *member) ask(places []any) error {
	m.places = places
	m.stopped <- m
	err := <-m.run
	if err == nil {
		err = m.answer
	}
	return err
}

// Later implements [sqlstore.Tx].
func (m *member) Later(_ context.Context, otherwise error, query string, args ...any) error {
	m.waits = append(m.waits, question{query: query, args: args, wrong: otherwise})
	return nil
}

// Settle implements [sqlstore.Tx].
func (m *member) Settle(context.Context) error {
	if !slices.ContainsFunc(m.waits, func(q question) bool { return q.wrong != nil }) {
		return nil
	}
	return m.ask(nil)
}

// QueryRowContext implements [sqlstore.Querier].
func (m *member) QueryRowContext(_ context.Context, query string, args ...any) sqlstore.Row {
	return &row{m, question{query: query, args: args}}
}

func (m *member) one(q question, places []any) error {
	q.places, q.answer = places, &m.answer
	m.waits = append(m.waits, q)
	return m.ask(places)
}

// QueryContext implements [sqlstore.Querier]. Few changes ask for many rows.
func (m *member) QueryContext(context.Context, string, ...any) (sqlstore.Rows, error) {
	return nil, errTogether
}

// ExecContext implements [sqlstore.Tx].
func (m *member) ExecContext(context.Context, string, ...any) (sql.Result, error) {
	return nil, errTogether
}

// join says whether the change is made with others.
func (d *database) join(m *member) bool {
	g := &d.gathering
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.alone > 0 {
		g.alone--
		return false
	}
	g.queue = append(g.queue, m)
	if g.wanted > 0 && len(g.queue) >= g.wanted {
		g.wanted = 0
		g.full <- struct{}{}
	}
	if !g.led {
		g.led = true
		go d.lead()
	}
	return true
}

// lead makes the changes that come until none do.
func (d *database) lead() {
	g := &d.gathering
	for {
		g.gather()
		members := g.take()
		failed := d.makeTogether(members)
		if failed != nil {
			_ = d.judge(failed.err) // what each change returns is of its own attempt
		}
		for _, m := range members {
			m.committed, m.unknown = failed == nil, failed != nil && failed.unknown
		}
		more := g.end(members, failed)
		for _, m := range members {
			m.run <- errTogether // which nobody asks for once it has ended
		}
		if !more {
			return
		}
	}
}

// gather waits for a moment for changes that are likely to come. Whoever was answered
// the last time, and those who came meanwhile, are likely to ask again soon. So nobody
// waits who is alone.
func (g *gathering) gather() {
	g.mu.Lock()
	wanted := min(g.last, mostTogether)
	most := min(time.Duration(wanted)*gatherEach, longestGather)
	if wanted <= 1 || len(g.queue) >= wanted || time.Since(g.ended) > most {
		g.mu.Unlock()
		return
	}
	g.wanted = wanted
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

// take takes changes of different accounts, in the order of these. The others stay.
func (g *gathering) take() []*member {
	g.mu.Lock()
	defer g.mu.Unlock()
	var members, stay []*member
	taken := map[ledger.AccountID]bool{}
	for _, m := range g.queue {
		if len(members) >= mostTogether || taken[m.account] {
			stay = append(stay, m)
			continue
		}
		taken[m.account] = true
		members = append(members, m)
	}
	g.queue = stay
	slices.SortFunc(members, func(a, b *member) int { return bytes.Compare(a.account[:], b.account[:]) })
	return members
}

// end says whether there is more to do after those.
func (g *gathering) end(members []*member, failed *failure) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if failed != nil {
		g.alone = aloneAfter
	}
	g.last, g.ended = len(members)+len(g.queue), time.Now()
	g.led = len(g.queue) > 0
	return g.led
}

// makeTogether makes changes in one transaction. When it returns they have ended.
func (d *database) makeTogether(members []*member) *failure {
	ctx, cancel := context.WithTimeout(context.Background(), changeTime)
	defer cancel()
	return d.attempt(ctx, func(ctx context.Context, t *transaction) error {
		if err := t.Later(ctx, nil, waitTogether); err != nil {
			return err
		}
		running := slices.Clone(members)
		stopped := make(chan *member, len(members))
		for _, m := range members {
			m.stopped = stopped
		}
		var err error
		for len(running) > 0 {
			for _, m := range running {
				m.run <- err
			}
			for range running {
				if m := <-stopped; err == nil && m.ended {
					err = m.err
				}
			}
			for _, m := range running {
				for _, q := range m.waits {
					t.wait(q)
				}
				m.waits = m.waits[:0]
			}
			running = slices.DeleteFunc(running, func(m *member) bool { return m.ended })
			if err == nil && len(running) > 0 {
				err = t.settle()
			}
		}
		return err
	})
}
