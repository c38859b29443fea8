# Drives bunny through what an application does with it; a line per check, see node.js.
require 'bunny'
require 'timeout'

PORT = Integer(ENV.fetch('INTEROP_PORT'))

def session(**options)
  Bunny.new(host: '127.0.0.1', port: PORT, automatically_recover: false, log_level: :fatal, **options)
end

def with_channel(confirms: false, **options)
  connection = session(**options).start
  channel = connection.create_channel
  channel.confirm_select if confirms
  yield channel, connection
ensure
  connection.close if connection && connection.open?
end

def equal(found, wanted, what)
  raise "#{what}: #{found.inspect} instead of #{wanted.inspect}" unless found == wanted
end

def failure(kind)
  yield
rescue kind => error
  error
else
  raise "no #{kind}"
end

def get(queue)
  loop do
    delivery, properties, body = queue.pop(manual_ack: true)
    return [delivery, properties, body] if delivery
  end
end

CHECKS = {}
def check(name, &work) = CHECKS[name] = work

check('connect_and_close') { with_channel { |_, connection| equal(connection.server_properties['product'], 'RabbitMQ', 'product') } }
check('wrong_password') { failure(Bunny::AuthenticationFailureError) { session(pass: 'wrong').start } }
check('missing_vhost') { failure(Bunny::NotAllowedError) { session(vhost: 'nowhere').start } }

[0, 1, 131_064, 131_072, 131_073, 2_000_000].each do |size|
  check("body_of_#{size}_bytes") do
    with_channel(confirms: true) do |channel|
      queue = channel.queue('', exclusive: true)
      body = 'abcdefg' * (size / 7) + 'x' * (size % 7)
      queue.publish(body)
      equal(channel.wait_for_confirms, true, 'confirmed')
      equal(get(queue)[2], body, 'body') unless size.zero?
      equal(get(queue)[2].to_s, '', 'body') if size.zero?
    end
  end
end

check('properties') do
  with_channel do |channel|
    queue = channel.queue('', exclusive: true)
    queue.publish('x', content_type: 'text/plain', priority: 3, correlation_id: 'c', reply_to: 'r', message_id: 'm',
                       timestamp: 1_700_000_000, type: 't', user_id: 'guest', app_id: 'a', headers: { 'mine' => 1 })
    _, properties, = get(queue)
    found = %i[content_type priority correlation_id reply_to message_id type user_id app_id].map { |name| properties[name] }
    equal(found, ['text/plain', 3, 'c', 'r', 'm', 't', 'guest', 'a'], 'properties')
    equal(properties[:headers]['mine'], 1, 'header')
    equal(properties[:timestamp].to_i, 1_700_000_000, 'timestamp')
  end
end

check('a_thousand_confirms_from_four_threads') do
  with_channel do |_, connection|
    4.times.map do
      Thread.new do
        channel = connection.create_channel
        channel.confirm_select
        queue = channel.queue('', exclusive: true)
        250.times { |number| queue.publish(number.to_s) }
        equal(channel.wait_for_confirms, true, 'confirmed')
        equal(queue.message_count, 250, 'stored')
      end
    end.each(&:join)
  end
end

check('unroutable_is_returned') do
  with_channel(confirms: true) do |channel|
    returned = Queue.new
    exchange = channel.direct('interop-ruby', auto_delete: true)
    exchange.on_return { |info, _, body| returned << [info.reply_code, info.reply_text, body] }
    exchange.publish('back', routing_key: 'nobody', mandatory: true)
    channel.wait_for_confirms
    equal(returned.pop, [312, 'NO_ROUTE', 'back'], 'return')
    exchange.delete
  end
end

check('nacked_by_a_full_queue') do
  with_channel(confirms: true) do |channel|
    queue = channel.queue('', exclusive: true, arguments: { 'x-max-length' => 1, 'x-overflow' => 'reject-publish' })
    3.times { queue.publish('x') }
    equal(channel.wait_for_confirms, false, 'confirmed')
    equal(channel.nacked_set.size, 2, 'nacked')
  end
end

check('consume_with_prefetch_and_cancel') do
  with_channel do |channel|
    channel.prefetch(5)
    queue = channel.queue('', exclusive: true)
    300.times { |number| queue.publish(number.to_s) }
    got = Queue.new
    consumer = queue.subscribe(manual_ack: true) do |delivery, _, body|
      got << body
      channel.ack(delivery.delivery_tag)
    end
    equal(300.times.map { got.pop.to_i }, (0...300).to_a, 'order')
    equal(consumer.cancel.consumer_tag, consumer.consumer_tag, 'cancelled')
  end
end

check('deleted_queue_cancels_its_consumer') do
  with_channel do |channel|
    queue = channel.queue('', exclusive: true)
    cancelled = Queue.new
    consumer = Bunny::Consumer.new(channel, queue)
    consumer.on_cancellation { cancelled << true }
    queue.subscribe_with(consumer)
    queue.delete
    equal(cancelled.pop, true, 'cancelled')
  end
end

check('channel_errors_leave_the_connection') do
  with_channel do |channel, connection|
    error = failure(Bunny::NotFound) { channel.queue_declare('nowhere', passive: true) }
    equal(error.channel_close.reply_code, 404, 'code')
    second = connection.create_channel
    failure(Bunny::AccessRefused) { second.exchange_declare('amq.mine', 'direct') }
    third = connection.create_channel
    third.queue('interop-ruby', exclusive: true)
    failure(Bunny::PreconditionFailed) { third.queue_declare('interop-ruby', exclusive: true, auto_delete: true) }
    connection.create_channel.queue('', exclusive: true)
  end
end

check('transaction') do
  with_channel do |channel|
    queue = channel.queue('', exclusive: true)
    channel.tx_select
    queue.publish('no')
    channel.tx_rollback
    queue.publish('yes')
    channel.tx_commit
    equal(get(queue)[2], 'yes', 'body')
  end
end

check('hundred_connections_one_after_the_other') { 100.times { with_channel { |channel| channel.queue('', exclusive: true) } } }

$stdout.sync = true
CHECKS.each do |name, work|
  started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  line = begin
    Timeout.timeout(30) { work.call }
    "ok #{name}"
  rescue StandardError => error
    "not ok #{name} # #{error.class}: #{error.message.lines.first.to_s.strip}"
  end
  puts format('%s (%.2fs)', line, Process.clock_gettime(Process::CLOCK_MONOTONIC) - started)
end
exit! 0
