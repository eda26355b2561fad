package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"zeropass.dev/zeropass/internal/store/sqlstore"
)

// openSlow opens a store that makes changes together however long they take.
func openSlow(t *testing.T, path string) *Store {
	s := open(t, path)
	s.db.group.longest = time.Hour
	return s
}

// grouped makes changes that are sure to come while another one runs, which is the
// first, and returns how each ended.
func grouped(t *testing.T, s *Store, changes ...func(context.Context, sqlstore.Tx) error) []error {
	t.Helper()
	ended := make([]error, len(changes))
	running := make(chan struct{})
	await := sync.OnceFunc(func() {
		close(running)
		waitFor(s.db.group, len(changes)-1)
	})
	var group sync.WaitGroup
	for i, f := range changes {
		if i == 0 {
			inner := f
			f = func(ctx context.Context, tx sqlstore.Tx) error {
				await()
				return inner(ctx, tx)
			}
		}
		change := s.db.Change
		if i > 0 {
			<-running
			waitFor(s.db.group, i-1) // so that they come in this order
		}
		group.Go(func() {
			defer func() {
				if value := recover(); value != nil {
					ended[i] = fmt.Errorf("panic: %v", value)
				}
			}()
			ended[i] = change(t.Context(), f)
		})
	}
	group.Wait()
	return ended
}

// waitFor waits until so many changes are in the queue.
func waitFor(g *group, n int) {
	for {
		g.mu.Lock()
		have := len(g.queue)
		g.mu.Unlock()
		if have >= n {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// adds returns a change that leaves a number behind, and ends as it is told.
func adds(n int, end func() error) func(context.Context, sqlstore.Tx) error {
	return func(ctx context.Context, tx sqlstore.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO removed (account, time) VALUES ($1, $2)`, []byte{byte(n)}, n); err != nil {
			return err
		}
		return end()
	}
}

func done() error { return nil }

// added returns the numbers that are there.
func added(t *testing.T, s *Store) []int {
	t.Helper()
	var all []int
	if err := s.db.Read(t.Context(), func(ctx context.Context, tx sqlstore.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT time FROM removed ORDER BY time`)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var n int
			if err := rows.Scan(&n); err != nil {
				return err
			}
			all = append(all, n)
		}
		return rows.Err()
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// Of changes that are made together each is undone alone, and nobody learns how one
// ended before all are durable.
func TestTogether(t *testing.T) {
	s := openSlow(t, filepath.Join(t.TempDir(), "server.db"))
	defer func() { _ = s.Close() }()
	before := s.Commits()
	refused := errors.New("refused")
	ended := grouped(t, s,
		adds(1, done),
		adds(2, func() error { return refused }),
		adds(3, done),
		adds(4, func() error { panic("four") }),
		adds(3, done), // is there already
		adds(5, done),
		adds(6, func() error {
			if all := added(t, s); len(all) != 0 {
				t.Errorf("before the commit others see %v", all)
			}
			return nil
		}))
	for i, want := range []string{"", "refused", "", "panic: four", "UNIQUE constraint failed", "", ""} {
		if got := fmt.Sprint(ended[i]); want == "" && ended[i] != nil || !strings.Contains(got, want) {
			t.Errorf("change %d ended with %v, want %q", i, ended[i], want)
		}
	}
	if all := added(t, s); !slices.Equal(all, []int{1, 3, 5, 6}) {
		t.Errorf("there are %v", all)
	}
	if n := s.Commits() - before; n != 1 {
		t.Errorf("it took %d commits", n)
	}
}

// Changes are made once, unless one is refused that came with them; and then those that
// come next have savepoints, so that none of them is made twice.
func TestMadeAgain(t *testing.T) {
	s := openSlow(t, filepath.Join(t.TempDir(), "server.db"))
	defer func() { _ = s.Close() }()
	refused := errors.New("refused")
	number := 0
	made := func(end error) (runs *int, f func(context.Context, sqlstore.Tx) error) {
		runs, number = new(int), number+1
		return runs, adds(number, func() error {
			*runs++
			return end
		})
	}
	for i, test := range []struct {
		end         error
		first, last int
	}{{nil, 1, 1}, {refused, 2, 1}, {refused, 1, 1}, {nil, 1, 1}} {
		first, a := made(nil)
		_, b := made(test.end)
		last, c := made(nil)
		ended := grouped(t, s, a, b, c)
		if ended[0] != nil || !errors.Is(ended[1], test.end) || ended[2] != nil {
			t.Fatalf("group %d ended with %v", i, ended)
		}
		if *first != test.first || *last != test.last {
			t.Errorf("in group %d the first change was made %d times and the last %d times, want %d and %d", i, *first, *last, test.first, test.last)
		}
	}
	if all := added(t, s); !slices.Equal(all, []int{1, 2, 3, 4, 6, 7, 9, 10, 11, 12}) {
		t.Errorf("there are %v", all)
	}
}

// Nobody is answered before the commit, whoever was refused included.
func TestNobodyIsAnsweredBeforeTheCommit(t *testing.T) {
	s := openSlow(t, filepath.Join(t.TempDir(), "server.db"))
	defer func() { _ = s.Close() }()
	// A constraint that is checked at the commit, and not before.
	fails := func(ctx context.Context, tx sqlstore.Tx) error {
		if _, err := tx.ExecContext(ctx, `PRAGMA defer_foreign_keys = ON`); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO entries (account, sequence, entry) VALUES (x'01', 1, x'01')`)
		return err
	}
	refused := errors.New("refused")
	for _, err := range grouped(t, s, adds(1, done), adds(2, func() error { return refused }), fails, adds(3, done)) {
		if err == nil || errors.Is(err, refused) || !strings.Contains(err.Error(), "FOREIGN KEY") {
			t.Errorf("a change whose commit failed ended with %v", err)
		}
	}
	if all := added(t, s); len(all) != 0 {
		t.Errorf("there are %v", all)
	}
	if s.Commits() != 0 {
		t.Errorf("%d commits", s.Commits())
	}
	// The next ones are not harmed.
	if err := s.db.Change(t.Context(), adds(4, done)); err != nil {
		t.Error(err)
	}
}

// What takes long has a transaction of its own.
func TestAlone(t *testing.T) {
	s := openSlow(t, filepath.Join(t.TempDir(), "server.db"))
	defer func() { _ = s.Close() }()
	var group sync.WaitGroup
	grouped(t, s, adds(1, func() error {
		group.Go(func() {
			if err := s.db.ChangeWhole(t.Context(), adds(2, done)); err != nil {
				t.Error(err)
			}
		})
		waitFor(s.db.group, 1)
		for n := 3; n <= 4; n++ {
			group.Go(func() {
				if err := s.db.Change(t.Context(), adds(n, done)); err != nil {
					t.Error(err)
				}
			})
		}
		waitFor(s.db.group, 3)
		return nil
	}))
	group.Wait()
	if all := added(t, s); !slices.Equal(all, []int{1, 2, 3, 4}) {
		t.Errorf("there are %v", all)
	}
	if s.Commits() != 3 {
		t.Errorf("%d commits, want one, one alone, and one", s.Commits())
	}
}

// Whoever asked may be gone; what was asked goes on, and with it what others asked.
func TestCancelled(t *testing.T) {
	s := openSlow(t, filepath.Join(t.TempDir(), "server.db"))
	defer func() { _ = s.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.db.Change(ctx, adds(1, done)); err != nil {
		t.Error(err)
	}
	if all := added(t, s); !slices.Equal(all, []int{1}) {
		t.Errorf("there are %v", all)
	}
}

func TestCloseWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.db")
	s := openSlow(t, path)
	closed := make(chan error, 1)
	var group sync.WaitGroup
	ended := grouped(t, s, adds(1, func() error {
		group.Go(func() { closed <- s.Close() })
		for {
			s.db.group.mu.Lock()
			closing := s.db.group.closed
			s.db.group.mu.Unlock()
			if closing {
				break
			}
			time.Sleep(time.Millisecond)
		}
		select {
		case err := <-closed:
			t.Errorf("it is closed while a change runs: %v", err)
		default:
		}
		return nil
	}), adds(2, done))
	group.Wait()
	if err := errors.Join(append(ended, <-closed)...); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Change(t.Context(), adds(3, done)); !errors.Is(err, errClosed) {
		t.Errorf("a change after that: %v", err)
	}
	s = open(t, path)
	defer func() { _ = s.Close() }()
	if all := added(t, s); !slices.Equal(all, []int{1, 2}) {
		t.Errorf("there are %v", all)
	}
}

// A leader waits for as many as there were the last time, and not long; one that was
// alone does not wait, nor one that comes later.
func TestGather(t *testing.T) {
	for name, test := range map[string]struct {
		last  int
		ago   time.Duration
		come  int // one each millisecond
		waits time.Duration
	}{
		"the first":               {0, 0, 1, 0},
		"alone":                   {1, 0, 1, 0},
		"others were there":       {3, time.Millisecond, 3, 2 * time.Millisecond},
		"others do not come":      {9, time.Millisecond, 2, 9 * gatherEach},
		"others were there early": {9, 9*gatherEach + 1, 2, 0},
		"many others do not come": {100, time.Millisecond, 2, longestGather},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGroup()
				g.last, g.ended = test.last, time.Now().Add(-test.ago)
				if leads, err := g.join(&change{}); !leads || err != nil {
					t.Fatal(leads, err)
				}
				go func() {
					for range test.come - 1 {
						time.Sleep(time.Millisecond)
						if leads, err := g.join(&change{}); leads || err != nil {
							t.Error(leads, err)
						}
					}
				}()
				begun := time.Now()
				g.gather()
				if waited := time.Since(begun); waited != test.waits {
					t.Errorf("it waits %v, want %v", waited, test.waits)
				}
				time.Sleep(time.Second)
				if g.wanted != 0 || len(g.full) != 0 {
					t.Error("it still waits")
				}
			})
		})
	}
}
