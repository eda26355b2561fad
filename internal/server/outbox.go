package server

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"zeropass.dev/zeropass/internal/notify"
	"zeropass.dev/zeropass/internal/store"
)

const (
	// deliveryLease is how long a server has a delivery to itself: longer than any
	// attempt takes.
	deliveryLease = 2 * time.Minute
	// deliveriesAtOnce are under way at a time, so that one slow receiver does not
	// hold up everybody.
	deliveriesAtOnce = 32
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
	for ctx.Err() == nil {
		n, err := s.DeliverDue(underWay)
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
		}
	}
}

// DeliverDue tries everything that is due now, at most as much as may be under
// way at a time, and returns how much that was.
func (s *Server) DeliverDue(ctx context.Context) (int, error) {
	deliveries, err := s.store.Begin(ctx, s.now(), deliveryLease, deliveriesAtOnce)
	if err != nil {
		return 0, err
	}
	results := make([]error, len(deliveries))
	var group sync.WaitGroup
	for i, d := range deliveries {
		group.Go(func() { results[i] = s.deliver(ctx, d) })
	}
	group.Wait()
	return len(deliveries), errors.Join(results...)
}

// deliver makes one attempt and writes down how it went.
func (s *Server) deliver(ctx context.Context, d store.Delivery) error {
	err := s.attempt(ctx, d)
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

func (s *Server) attempt(ctx context.Context, d store.Delivery) error {
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
