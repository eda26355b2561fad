package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"

	"zeropass.dev/zeropass/internal/notify"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/memory"
)

const (
	// deliveryLease is how long a server has a delivery to itself: longer than any
	// attempt takes.
	deliveryLease = 2 * time.Minute
	// deliveriesAtOnce are under way at a time, each to another place: a slow
	// receiver has one of them, however much waits for it.
	deliveriesAtOnce = 16
	// byChannel are under way by one channel at a time, so that receivers of one that
	// are all slow hold up nothing by the other.
	byChannel = 12
	// outboxPause is how often the outbox is looked at where nothing was raised
	// here: for what is due again, and what another server over the same data had
	// and died.
	outboxPause = 5 * time.Second

	// stopDelivering is how long deliveries that are under way may take when the
	// server stops.
	stopDelivering = 10 * time.Second

	firstRetry = 15 * time.Second
	lastRetry  = 6 * time.Hour
	giveUp     = 3 * 24 * time.Hour
)

// Deliver delivers alarms until ctx ends, and what is under way then to its end, if
// that comes soon. Each is delivered at least once, and by
// all servers over the same data together mostly once. Between deliveries what
// waited for other devices and has expired is erased.
func (s *Server) Deliver(ctx context.Context) {
	again := time.NewTicker(outboxPause)
	defer again.Stop()
	underWay, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(stopDelivering, cancel) })()
	c := newCourier(s)
	defer c.group.Wait()
	for ctx.Err() == nil {
		n, _, err := c.begin(underWay)
		if err != nil && ctx.Err() == nil {
			s.log.Error("alarms could not be delivered", "error", err)
		}
		if n > 0 && err == nil {
			continue
		}
		if err := s.store.EraseKept(ctx, s.now()); err != nil && ctx.Err() == nil {
			s.log.Error("requests that have expired could not be erased", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-again.C:
		case <-s.raised:
		case <-c.ended:
		}
	}
}

// DeliverDue tries everything that is due now, and returns how much that was.
func (s *Server) DeliverDue(ctx context.Context) (int, error) {
	c := newCourier(s)
	all := 0
	for ctx.Err() == nil {
		n, before, err := c.begin(ctx)
		if err != nil && ctx.Err() != nil {
			break // whatever was begun ends
		}
		if err != nil {
			c.group.Wait()
			return all, err
		}
		if all += n; n+before == 0 {
			break
		}
		if n == 0 {
			<-c.ended
		}
	}
	c.group.Wait()
	return all, errors.Join(c.failed...)
}

// courier is what one server has under way.
type courier struct {
	server *Server
	group  sync.WaitGroup
	ended  chan struct{} // holds one: something has ended since it was taken

	mu     sync.Mutex
	busy   []store.Place
	failed []error // what could not be written down
}

func newCourier(s *Server) *courier { return &courier{server: s, ended: make(chan struct{}, 1)} }

// begin starts as much of what is due as there is room for, to places that have
// nothing under way. It returns how much that is, and how much was under way before.
func (c *courier) begin(ctx context.Context) (begun, before int, err error) {
	c.mu.Lock()
	busy := slices.Clone(c.busy)
	c.mu.Unlock()
	room := deliveriesAtOnce - len(busy)
	if room == 0 {
		return 0, len(busy), nil
	}
	for _, channel := range []string{store.ChannelMail, store.ChannelWebhook} {
		n, err := c.beginBy(ctx, channel, room-begun, busy)
		if err != nil {
			return begun, len(busy), err
		}
		begun += n
	}
	return begun, len(busy), nil
}

func (c *courier) beginBy(ctx context.Context, channel string, room int, busy []store.Place) (int, error) {
	use, others := 0, slices.Clone(busy)
	for _, place := range busy {
		if place.Channel == channel {
			use++
		}
	}
	for _, other := range []string{store.ChannelMail, store.ChannelWebhook} {
		if other != channel {
			others = append(others, store.Place{Channel: other})
		}
	}
	if room = min(room, byChannel-use); room <= 0 {
		return 0, nil
	}
	deliveries, err := c.server.store.Begin(ctx, c.server.now(), deliveryLease, room, others...)
	for _, d := range deliveries {
		c.mu.Lock()
		c.busy = append(c.busy, d.Place())
		c.mu.Unlock()
		c.group.Go(func() { c.end(d, c.server.deliver(ctx, d)) })
	}
	return len(deliveries), err
}

// end makes room for the next one.
func (c *courier) end(d store.Delivery, err error) {
	c.mu.Lock()
	i := slices.Index(c.busy, d.Place())
	c.busy = slices.Delete(c.busy, i, i+1)
	if err != nil {
		c.server.log.Error("what became of an alarm could not be written down", "delivery", d.ID, "channel", d.Channel, "error", err)
		c.failed = append(c.failed, err)
	}
	c.mu.Unlock()
	select {
	case c.ended <- struct{}{}:
	default:
	}
}

// caught makes an error of a panic, which would end the whole server. What was
// panicked with may hold what was being delivered; what the runtime says does not.
func caught(err *error) {
	switch v := recover().(type) {
	case nil:
	case runtime.Error:
		*err = fmt.Errorf("panic: %w\n%s", v, memory.Stack())
	default:
		*err = fmt.Errorf("panic: %T\n%s", v, memory.Stack())
	}
}

// deliver makes one attempt and writes down how it went.
func (s *Server) deliver(ctx context.Context, d store.Delivery) (err error) {
	defer caught(&err)
	err = s.attempt(ctx, d)
	if err != nil && ctx.Err() != nil {
		return nil // the lease ends, and then it is due again
	}
	ctx = context.WithoutCancel(ctx) // what was delivered is not delivered again after a restart
	now := s.now()
	var failed *notify.Error
	gone := errors.As(err, &failed) && failed.Gone
	switch next := retryAt(d, now); {
	case err == nil:
		err = s.store.End(ctx, d)
	case gone || next.After(d.Created.Add(giveUp)):
		s.log.Warn("an alarm is given up", "delivery", d.ID, "channel", d.Channel, "attempt", d.Attempt, "error", err)
		err = s.store.End(ctx, d)
	default:
		s.log.Info("an alarm was not delivered", "delivery", d.ID, "channel", d.Channel, "attempt", d.Attempt, "next", next, "error", err)
		err = s.store.PutOff(ctx, d, next)
	}
	if errors.Is(err, store.ErrUnknownDelivery) {
		return nil // the lease ended meanwhile, and another has it
	}
	return err
}

// retryAt doubles the pause with each attempt, and takes off up to half of it at
// random, so that many that failed together do not come back together.
func retryAt(d store.Delivery, now time.Time) time.Time {
	pause := firstRetry << min(d.Attempt-1, 12)
	pause = min(pause, lastRetry)
	return now.Add(pause - rand.N(pause/2))
}

func (s *Server) attempt(ctx context.Context, d store.Delivery) (err error) {
	defer caught(&err)
	alarm, err := notify.ParseAlarm(d.Alarm.ID, d.Alarm.Body)
	if err != nil {
		return err
	}
	if d.Times > 1 {
		alarm.Data.Times = d.Times
	}
	body := alarm.JSON()
	switch d.Channel {
	case store.ChannelMail:
		if s.mail == nil {
			return &notify.Error{Step: "no mail server is set"}
		}
		return s.mail.Send(ctx, d.Target, alarm)
	case store.ChannelWebhook:
		key, err := s.keys.ring.key(d.Key)
		if err != nil {
			return err
		}
		secret, err := key.Open(webhookContext(d.Alarm.Account, d.Key), d.Secret)
		if err != nil {
			return &notify.Error{Step: "the webhook's secret does not open"}
		}
		defer clear(secret)
		return s.webhook.Post(ctx, d.Target, secret, d.Alarm.ID, s.now(), body)
	}
	return &notify.Error{Step: "a channel that this program does not know"}
}
