package device

import (
	"context"
	"errors"
	"io"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/internal/api"
)

// webhookSecretSize is the size in bytes of a webhook's secret.
const webhookSecretSize = 32

// Alarms is where the server sends alarms, besides to the devices.
type Alarms struct {
	Mail        string // address, or empty
	Webhook     string // URL, or empty
	Undelivered int    // that wait
}

// Alarms asks the server where alarms go.
func (d *Device) Alarms(ctx context.Context) (*Alarms, error) { return d.askAlarms(ctx, false) }

// TestAlarms has the server send an alarm that says that it is a test.
func (d *Device) TestAlarms(ctx context.Context) (*Alarms, error) { return d.askAlarms(ctx, true) }

func (d *Device) askAlarms(ctx context.Context, test bool) (*Alarms, error) {
	if err := d.writable(); err != nil {
		return nil, err
	}
	answer, err := d.client.Alarms(ctx, d.identity(), &apiv1.AlarmsRequest{Test: test})
	if err != nil {
		return nil, d.noticeRevoked(err, "ask where alarms go")
	}
	s := answer.GetSettings()
	return &Alarms{Mail: s.GetMail(), Webhook: s.GetWebhook(), Undelivered: int(answer.Undelivered)}, nil
}

// SetAlarms changes where alarms go, with a second factor. A webhook that is not
// where it was before gets a new secret, which is returned, for its receiver, and
// is kept nowhere on the device.
func (d *Device) SetAlarms(ctx context.Context, to Alarms) (secret []byte, err error) {
	had, err := d.Alarms(ctx)
	if err != nil {
		return nil, err
	}
	settings := &apiv1.AlarmSettings{Mail: to.Mail, Webhook: to.Webhook}
	if to.Webhook != "" && to.Webhook != had.Webhook {
		settings.WebhookSecret = make([]byte, webhookSecretSize)
		if _, err := io.ReadFull(d.o.Rand, settings.WebhookSecret); err != nil {
			return nil, explain(err, "make a secret for the webhook")
		}
	}
	if err := d.pull(ctx); err != nil { // to know who the second factor is
		return nil, d.noticeRevoked(err, "bring the ledgers together")
	}
	second, err := d.ownSecondFactor(d.home.State())
	if err != nil {
		return nil, err
	}
	prepared, err := d.client.PrepareSetAlarms(d.identity(), &apiv1.SetAlarmsRequest{Settings: settings}, second)
	if err != nil {
		return nil, explain(err, "change where alarms go")
	}
	err = d.await(ctx, ask(prepared, func(*apiv1.SetAlarmsAnswer) {}))
	var refusal *api.Refusal
	if signed(err) && errors.Is(err, api.ErrMalformed) && errors.As(err, &refusal) {
		return nil, failure(CodeUsage, err, "see zeropass alarms set --help", "the server does not take it: %s", refusal.Message)
	}
	if err != nil {
		return nil, explain(err, "change where alarms go")
	}
	return settings.WebhookSecret, nil
}
