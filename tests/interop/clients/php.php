<?php
// Drives php-amqplib through what an application does with it; a line per check, see node.js.
require_once 'PhpAmqpLib/autoload.php';

use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Exception\AMQPConnectionClosedException;
use PhpAmqpLib\Exception\AMQPProtocolChannelException;
use PhpAmqpLib\Message\AMQPMessage;
use PhpAmqpLib\Wire\AMQPTable;

function connect(string $password = 'guest', string $vhost = '/', string $login = 'AMQPLAIN'): AMQPStreamConnection
{
    return new AMQPStreamConnection('127.0.0.1', (int) getenv('INTEROP_PORT'), 'guest', $password, $vhost, false, $login);
}

function using(callable $work): void
{
    $connection = connect();
    try {
        $work($connection->channel(), $connection);
    } finally {
        if ($connection->isConnected()) {
            $connection->close();
        }
    }
}

function equal(mixed $found, mixed $wanted, string $what): void
{
    if ($found !== $wanted) {
        throw new RuntimeException("$what: " . json_encode($found) . ' instead of ' . json_encode($wanted));
    }
}

function failure(callable $work): Throwable
{
    try {
        $work();
    } catch (Throwable $error) {
        return $error;
    }
    throw new RuntimeException('it should have failed');
}

function fresh($channel, array $arguments = []): string
{
    return $channel->queue_declare('', false, false, true, false, false, new AMQPTable($arguments))[0];
}

function get($channel, string $queue): AMQPMessage
{
    do {
        $message = $channel->basic_get($queue);
    } while ($message === null);
    return $message;
}

$checks = [];

foreach (['AMQPLAIN', 'PLAIN'] as $login) {
    $checks["connect_by_$login"] = function () use ($login) {
        $connection = connect(login: $login);
        equal($connection->getServerProperties()['product'][1], 'RabbitMQ', 'product');
        $connection->close();
    };
}
$checks['wrong_password'] = fn () => equal(failure(fn () => connect('wrong'))->getCode(), 403, 'code');
$checks['missing_vhost'] = fn () => equal(failure(fn () => connect(vhost: 'nowhere'))->getCode(), 530, 'code');

foreach ([0, 1, 131064, 131072, 131073, 2000000] as $size) {
    $checks["body_of_{$size}_bytes"] = fn () => using(function ($channel) use ($size) {
        $queue = fresh($channel);
        $body = substr(str_repeat('abcdefg', intdiv($size, 7) + 1), 0, $size);
        $channel->basic_publish(new AMQPMessage($body), '', $queue);
        equal(get($channel, $queue)->body === $body, true, 'body');
    });
}

$checks['properties'] = fn () => using(function ($channel) {
    $queue = fresh($channel);
    $wanted = [
        'content_type' => 'text/plain', 'content_encoding' => 'utf-8', 'delivery_mode' => 2, 'priority' => 3,
        'correlation_id' => 'c', 'reply_to' => 'r', 'expiration' => '60000', 'message_id' => 'm',
        'timestamp' => 1700000000, 'type' => 't', 'user_id' => 'guest', 'app_id' => 'a',
    ];
    $headers = new AMQPTable(['mine' => 1, 'text' => 'ü', 'list' => [1, 'b']]);
    $channel->basic_publish(new AMQPMessage('x', $wanted + ['application_headers' => $headers]), '', $queue);
    $message = get($channel, $queue);
    foreach ($wanted as $name => $value) {
        equal($message->get($name), $value, $name);
    }
    $found = $message->get('application_headers')->getNativeData();
    equal([$found['mine'], $found['text'], $found['list']], [1, 'ü', [1, 'b']], 'headers');
});

$checks['five_hundred_confirms'] = fn () => using(function ($channel) {
    $queue = fresh($channel);
    $answers = ['ack' => 0, 'nack' => 0];
    $channel->set_ack_handler(function () use (&$answers) { $answers['ack']++; });
    $channel->set_nack_handler(function () use (&$answers) { $answers['nack']++; });
    $channel->confirm_select();
    for ($number = 0; $number < 500; $number++) {
        $channel->basic_publish(new AMQPMessage((string) $number), '', $queue);
    }
    $channel->wait_for_pending_acks(20);
    equal($answers, ['ack' => 500, 'nack' => 0], 'answers');
});

$checks['return_before_its_confirm'] = fn () => using(function ($channel) {
    $order = [];
    $channel->set_return_listener(function ($code, $text, $exchange, $key, $message) use (&$order) {
        $order[] = "$code $text {$message->body}";
    });
    $channel->set_ack_handler(function () use (&$order) { $order[] = 'ack'; });
    $channel->confirm_select();
    $channel->basic_publish(new AMQPMessage('back'), '', 'nobody', true);
    $channel->wait_for_pending_acks_returns(20);
    equal($order, ['312 NO_ROUTE back', 'ack'], 'order');
});

$checks['nacked_by_a_full_queue'] = fn () => using(function ($channel) {
    $queue = fresh($channel, ['x-max-length' => 1, 'x-overflow' => 'reject-publish']);
    $nacked = 0;
    $channel->set_nack_handler(function () use (&$nacked) { $nacked++; });
    $channel->confirm_select();
    for ($number = 0; $number < 3; $number++) {
        $channel->basic_publish(new AMQPMessage('x'), '', $queue);
    }
    $channel->wait_for_pending_acks(20);
    equal($nacked, 2, 'nacked');
});

$checks['consume_in_order'] = fn () => using(function ($channel) {
    $queue = fresh($channel);
    for ($number = 0; $number < 300; $number++) {
        $channel->basic_publish(new AMQPMessage((string) $number), '', $queue);
    }
    $channel->basic_qos(0, 7, false);
    $got = [];
    $tag = $channel->basic_consume($queue, '', false, false, false, false, function ($message) use (&$got) {
        $got[] = (int) $message->body;
        $message->ack();
    });
    while (count($got) < 300) {
        $channel->wait(null, false, 20);
    }
    equal($got, range(0, 299), 'order');
    $channel->basic_cancel($tag);
});

$checks['reject_and_redelivery'] = fn () => using(function ($channel) {
    $queue = fresh($channel);
    $channel->basic_publish(new AMQPMessage('x'), '', $queue);
    get($channel, $queue)->nack(true);
    $again = get($channel, $queue);
    equal($again->isRedelivered(), true, 'redelivered');
    $again->reject(false);
    equal($channel->basic_get($queue), null, 'dropped');
});

$checks['channel_error_leaves_the_connection'] = fn () => using(function ($channel, $connection) {
    $error = failure(fn () => $channel->queue_declare('nowhere', true));
    equal([$error::class, $error->getCode()], [AMQPProtocolChannelException::class, 404], 'error');
    fresh($connection->channel());
});

$checks['connection_error'] = fn () => using(function ($channel) {
    $error = failure(fn () => $channel->exchange_declare('interop-odd', 'no-such-kind', false, false, true));
    equal([$error::class, $error->getCode()], [AMQPConnectionClosedException::class, 503], 'error');
});

$checks['transaction'] = fn () => using(function ($channel) {
    $queue = fresh($channel);
    $channel->tx_select();
    $channel->basic_publish(new AMQPMessage('no'), '', $queue);
    $channel->tx_rollback();
    $channel->basic_publish(new AMQPMessage('yes'), '', $queue);
    $channel->tx_commit();
    equal(get($channel, $queue)->body, 'yes', 'body');
});

foreach ($checks as $name => $check) {
    $started = microtime(true);
    try {
        $check();
        $line = "ok $name";
    } catch (Throwable $error) {
        $line = "not ok $name # " . $error::class . ': ' . strtok($error->getMessage(), "\n");
    }
    printf("%s (%.2fs)\n", $line, microtime(true) - $started);
}
