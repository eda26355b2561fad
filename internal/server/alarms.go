package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/notify"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// alarmPause is how long after one alarm of a kind that anybody can raise the next
// leaves: whoever knows an account's name must not fill its owner's mailbox.
const alarmPause = 15 * time.Minute

// testsPerHour is how many tests of the alarms an account may send.
const testsPerHour = 3

// alarm makes an alarm about what the request does. Its id follows from the
// request, so that a request that is decided twice raises it once.
func (s *Server) alarm(a *asked, acct *account, kind notify.Kind, about notify.Data) store.Alarm {
	id := sha256.Sum256(fmt.Appendf(nil, "%s %x %d %d", kind, a.Hash, about.Sequence, about.Subject))
	about.Account, about.Name = acct.id.String(), acct.name
	if about.Device == 0 {
		if asker, _ := a.Account(); asker == acct.id {
			about.Device = a.Header.Device
		}
	}
	if asker, ok := a.Account(); !ok || asker == acct.id { // else it is a contact's, and not the owner's to know
		if remote, local := remoteOf(a.remote); !local && remote.IsValid() {
			about.Address = remote.Addr().String()
			if !remote.IsSingleIP() {
				about.Address = remote.String()
			}
			about.Country = s.places.Country(a.remote)
		}
	}
	alarm := notify.Alarm{ID: "msg_" + hex.EncodeToString(id[:16]), Kind: kind, Time: a.now, Data: about}
	return store.Alarm{ID: alarm.ID, Account: acct.id, Kind: string(kind), Body: alarm.JSON()}
}

// alarmByAnybody makes an alarm about what takes nothing but an account's name.
// It is counted apart from those of the same kind that devices of the account
// raise, so that it delays and hides none of them.
func (s *Server) alarmByAnybody(a *asked, acct *account, kind notify.Kind) store.Alarm {
	alarm := s.alarm(a, acct, kind, notify.Data{})
	alarm.Kind, alarm.Pause = alarm.Kind+" by anybody", alarmPause
	return alarm
}

// origin says which country the request came from. A second factor, or the start
// of an account, makes it one of the account's own; without one it is anybody's.
func (s *Server) origin(a *asked, acct *account, learn bool) *store.Origin {
	country := s.places.Country(a.remote)
	if country == "" {
		return nil
	}
	alarm := s.alarm(a, acct, notify.OriginNew, notify.Data{})
	if !learn {
		alarm = s.alarmByAnybody(a, acct, notify.OriginNew)
	}
	return &store.Origin{Account: acct.id, Country: country, Learn: learn, Alarm: alarm}
}

// recordAlarms are the alarms about records, by their kinds. Slots and receipts
// raise none.
func (s *Server) recordAlarms(a *asked, acct *account, after *ledger.State, fresh []*ledger.Entry, excused uint64) []store.Alarm {
	var alarms []store.Alarm
	for _, e := range fresh {
		if e.Sequence() <= excused {
			continue // it stood here before the server was restored
		}
		about := notify.Data{Device: e.Author(), Sequence: e.Sequence()}
		for _, record := range e.Records() {
			if kind := recordAlarm(record, &about); kind != "" {
				if kind == notify.DeviceAdded || kind == notify.RecoveryDone {
					about.Subject = addedIn(after, e.Sequence())
				}
				alarms = append(alarms, s.alarm(a, acct, kind, about))
			}
		}
	}
	return alarms
}

func recordAlarm(record *recordv1.Record, about *notify.Data) notify.Kind {
	about.Subject = 0
	switch r := record.Kind.(type) {
	case *recordv1.Record_EpochPrepared:
		return notify.EpochPrepared
	case *recordv1.Record_EpochCommitted:
		return notify.EpochCommitted
	case *recordv1.Record_ContactBound:
		return notify.ContactBound
	case *recordv1.Record_DeviceAdded:
		return notify.DeviceAdded
	case *recordv1.Record_DeviceLocked:
		about.Subject = r.DeviceLocked.Device
		return notify.DeviceLocked
	case *recordv1.Record_DeviceUnlocked:
		about.Subject = r.DeviceUnlocked.Device
		return notify.DeviceUnlocked
	case *recordv1.Record_DeviceRevoked:
		about.Subject = r.DeviceRevoked.Device
		return notify.DeviceRevoked
	case *recordv1.Record_PolicyChanged:
		return notify.PolicyChanged
	case *recordv1.Record_ServerKeyChanged:
		return notify.ServerKeyChanged
	case *recordv1.Record_RecoveryVetoed:
		return notify.RecoveryVetoed
	case *recordv1.Record_Recovered:
		return notify.RecoveryDone
	}
	return ""
}

// addedIn returns the device that an entry added.
func addedIn(state *ledger.State, sequence uint64) uint64 {
	for _, d := range state.Devices() {
		if d.Added.Sequence == sequence {
			return d.Number
		}
	}
	return 0
}

// usedUp raises the alarm that a device has used up its reveals, once an hour.
func (s *Server) usedUp(ctx context.Context, a *asked, acct *account, err error) {
	var limit *store.LimitError
	if !errors.As(err, &limit) {
		return
	}
	alarm := s.alarm(a, acct, notify.RevealLimit, notify.Data{})
	alarm.PerHour = 1
	if err := s.store.Raise(ctx, a.now, alarm); err != nil {
		s.log.Error("an alarm was not raised", "error", err)
	}
	s.hint(change(acct.id, apiv1.Hint_KIND_ACTIVITY))
}

// alarms says where alarms go.
func (s *Server) alarms(ctx context.Context, a *asked, q *apiv1.AlarmsRequest) (*apiv1.AlarmsAnswer, error) {
	acct, _, err := s.device(ctx, a)
	if err != nil {
		return nil, err
	}
	settings, waiting, err := s.store.AlarmSettings(ctx, acct.id)
	if err != nil {
		return nil, err
	}
	answer := &apiv1.AlarmsAnswer{Undelivered: uint64(waiting)}
	if settings.Mail != "" || settings.Webhook != "" {
		answer.Settings = &apiv1.AlarmSettings{Mail: settings.Mail, Webhook: settings.Webhook}
	}
	if !q.Test {
		return answer, nil
	}
	test := s.alarm(a, acct, notify.AlarmsTest, notify.Data{})
	test.PerHour = testsPerHour
	return answer, s.logAnswer(ctx, a, acct, answer, store.Answer{Spend: store.Spend{Alarms: []store.Alarm{test}}})
}

// setAlarms changes where alarms go, with a second factor: a thief would begin
// with it.
func (s *Server) setAlarms(ctx context.Context, a *asked, q *apiv1.SetAlarmsRequest) (*apiv1.SetAlarmsAnswer, error) {
	acct, d, err := s.device(ctx, a)
	if err != nil {
		return nil, err
	}
	settings, err := s.checkAlarms(ctx, acct, q.GetSettings())
	if err != nil {
		return nil, err
	}
	op, err := s.confirmed(ctx, a, acct, d)
	if err != nil {
		return nil, err
	}
	op.Alarms = &settings
	op.Spend.Alarms = []store.Alarm{s.alarm(a, acct, notify.AlarmsChanged, notify.Data{})}
	answer := &apiv1.SetAlarmsAnswer{}
	return answer, s.logAnswer(ctx, a, acct, answer, op)
}

// checkAlarms returns the settings as the store keeps them. A webhook that stays
// where it is may keep its secret.
func (s *Server) checkAlarms(ctx context.Context, acct *account, q *apiv1.AlarmSettings) (store.AlarmSettings, error) {
	settings := store.AlarmSettings{Mail: q.GetMail(), Webhook: q.GetWebhook()}
	refuse := func(format string, args ...any) (store.AlarmSettings, error) {
		return store.AlarmSettings{}, api.Refuse(api.ErrMalformed, format, args...)
	}
	if settings.Mail != "" {
		if s.mail == nil {
			return refuse("this server sends no mail: choose a webhook, or ask its operator")
		}
		if err := notify.CheckMail(settings.Mail); err != nil {
			return refuse("the address for mail: %v", err)
		}
	}
	if settings.Webhook == "" {
		if len(q.GetWebhookSecret()) != 0 {
			return refuse("a webhook's secret without a webhook")
		}
		return settings, nil
	}
	if err := s.webhook.CheckURL(settings.Webhook); err != nil {
		return refuse("the webhook: %v", err)
	}
	if len(q.WebhookSecret) == 0 {
		had, _, err := s.store.AlarmSettings(ctx, acct.id)
		if err != nil {
			return store.AlarmSettings{}, err
		}
		if had.Webhook != settings.Webhook {
			return refuse("a new webhook needs a new secret")
		}
		settings.Key, settings.Secret = had.Key, had.Secret
		return settings, nil
	}
	if len(q.WebhookSecret) != notify.SecretSize {
		return refuse("the webhook's secret has %d bytes instead of %d", len(q.WebhookSecret), notify.SecretSize)
	}
	with := s.keys.ring.first()
	sealed, err := with.key.Seal(s.rand, webhookContext(acct.id, with.id), q.WebhookSecret)
	settings.Key, settings.Secret = with.id, sealed
	return settings, err
}

// webhookContext binds an encrypted webhook secret to its account.
func webhookContext(account ledger.AccountID, key string) *signing.Context {
	return signing.NewContext("stored-webhook-secret").Bytes(account[:]).Text(key)
}

// withAlarms is an answer's part of the store's operation that raises alarms.
func withAlarms(origin *store.Origin, alarms ...store.Alarm) store.Spend {
	return store.Spend{Origin: origin, Alarms: alarms}
}
