package crashtest

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// company is what other devices do while a command runs: their people go on as long
// as it takes, whatever happens to the command, to the server or to their own.
type company struct {
	s      *site
	ctx    context.Context
	stop   context.CancelFunc
	over   chan struct{} // closed when the command has done its work
	group  sync.WaitGroup
	rescue func() // answers what still waits then

	mu     sync.Mutex
	failed error
}

func newCompany(s *site) *company {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	return &company{s: s, ctx: ctx, stop: cancel, over: make(chan struct{})}
}

// end waits until everybody has come to an end.
func (c *company) end() error {
	if c == nil {
		return nil
	}
	close(c.over)
	if c.rescue != nil {
		c.rescue()
	}
	c.group.Wait()
	c.stop()
	return c.failed
}

// kill stops everybody.
func (c *company) kill() {
	if c != nil {
		c.stop()
		c.group.Wait()
	}
}

func (c *company) isOver() bool {
	select {
	case <-c.over:
		return true
	default:
		return c.ctx.Err() != nil
	}
}

// run runs a command for at most a time. That it fails is no failure: it is given
// again. What it prints must do for a person.
func (c *company) run(limit time.Duration, who string, args ...string) result {
	ctx, cancel := context.WithTimeout(c.ctx, limit)
	defer cancel()
	r, err := c.s.runUntil(ctx, nil, command{who: who, args: args})
	if err != nil && ctx.Err() == nil {
		c.fail(err)
	}
	return r
}

func (c *company) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = errors.Join(c.failed, err)
}

const (
	oneCommand = 20 * time.Second
	betweenTwo = 100 * time.Millisecond
)

// until does something again and again, until it says that it was done or the
// command has done its work.
func (c *company) until(do func() bool) {
	c.group.Go(func() {
		for !c.isOver() && !do() {
			time.Sleep(betweenTwo)
		}
	})
}

// asked is what waits for a device.
type asked struct {
	ID     string
	Own    bool
	Cannot string
	Phrase string `json:"device_phrase"`
}

func (c *company) asked(who string) (waiting []asked) {
	r := c.run(oneCommand, who, "pending", "--json")
	if r.code == 0 {
		if err := json.Unmarshal([]byte(r.stdout), &waiting); err != nil {
			c.fail(err)
		}
	}
	return waiting
}

// answer answers all that waits for a device.
func (c *company) answer(verb, who string) {
	for _, w := range c.asked(who) {
		switch {
		case w.Own:
		case verb == "refuse":
			c.run(oneCommand, who, verb, w.ID)
		case w.Phrase != "":
			c.run(oneCommand, who, verb, w.ID, "--phrase", w.Phrase)
		default:
			c.run(oneCommand, who, verb, w.ID, "--yes")
		}
	}
}

// confirms has devices confirm whatever waits for them.
func confirms(who ...string) func(*company) error {
	return func(c *company) error {
		for _, w := range who {
			c.until(func() bool { c.answer("confirm", w); return false })
		}
		return nil
	}
}

// asks has a device ask for what another answers, until it ends with a code, and
// waits until the other can.
func asks(code int, prints, asker, verb, answerer string, args ...string) func(*company) error {
	return func(c *company) error {
		ended := make(chan struct{})
		c.group.Go(func() {
			defer close(ended)
			for {
				r := c.run(time.Minute, asker, args...)
				if r.code == code && strings.Contains(r.stdout, prints) {
					return
				}
				if c.ctx.Err() != nil {
					c.fail(r.failed("it ends with %d, not %d", r.code, code))
					return
				}
				time.Sleep(betweenTwo)
			}
		})
		c.rescue = func() {
			for {
				select {
				case <-ended:
					return
				case <-c.ctx.Done():
					return
				case <-time.After(betweenTwo):
					c.answer(verb, answerer)
				}
			}
		}
		return c.wait(func() bool { return len(c.asked(answerer)) > 0 })
	}
}

// wait waits until something is so.
func (c *company) wait(so func() bool) error {
	for !so() {
		if c.ctx.Err() != nil {
			return errors.Join(errors.New("what another device does has not begun"), c.failed)
		}
		time.Sleep(betweenTwo)
	}
	return nil
}

// joining is the phrase of the device that asked last to be added, empty if none.
func (c *company) joining() string {
	r := c.run(oneCommand, "owner", "device", "list", "--json")
	var list struct{ Joining []struct{ Phrase string } }
	if r.code == 0 {
		if err := json.Unmarshal([]byte(r.stdout), &list); err != nil {
			c.fail(err)
		}
	}
	if len(list.Joining) == 0 {
		return ""
	}
	return list.Joining[len(list.Joining)-1].Phrase
}

// approves has the owner add the device that asks. It looks away after a while, and
// then looks again who asks.
func approves(name string) func(*company) error {
	return func(c *company) error {
		c.until(func() bool {
			phrase := c.joining()
			return phrase != "" && c.run(5*time.Second, "owner", "device", "approve", "--phrase", phrase, "--as", name).code == 0
		})
		return nil
	}
}

// adds has a new device ask to be added, and others confirm. The owner reads its
// phrase.
func adds(who string, others ...string) func(*company) error {
	return func(c *company) error {
		c.group.Go(func() {
			for {
				r := c.run(time.Minute, who, addArgs...)
				if r.code == 0 || r.code == 10 && strings.Contains(r.stderr, "holds the account Ada already") {
					return
				}
				if c.ctx.Err() != nil {
					c.fail(r.failed("it ends with %d", r.code))
					return
				}
				time.Sleep(betweenTwo)
			}
		})
		if err := confirms(others...)(c); err != nil {
			return err
		}
		return c.wait(func() bool {
			phrase := c.joining()
			if phrase != "" {
				c.fail(os.WriteFile(c.s.path("device.phrase"), []byte(phrase), 0o600))
			}
			return phrase != ""
		})
	}
}

// confirmed runs a command that must succeed while other devices confirm.
func (s *site) confirmed(cmd command, by ...string) (result, error) {
	c := newCompany(s)
	err := confirms(by...)(c)
	r, ran := s.want(0, cmd.who, cmd.args...)
	return r, errors.Join(err, ran, c.end())
}

// killAgents ends the agents, if there are any.
func (s *site) killAgents() {
	sockets, _ := filepath.Glob(s.path("device", "run", "zeropass", "*.sock"))
	homes, _ := os.ReadDir(s.path("device"))
	for _, h := range homes {
		if len(sockets) > 0 && h.IsDir() && h.Name() != "run" {
			_, _ = s.run(nil, command{who: h.Name(), args: []string{"lock"}})
		}
	}
}
