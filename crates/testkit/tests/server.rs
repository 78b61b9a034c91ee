//! The test server itself.

use poolwright_testkit::TestServer;

#[tokio::test]
async fn a_test_server_starts_without_the_names_that_it_hands_out() {
    let server = TestServer::start().await.unwrap();
    server.connect("order_desk").await.unwrap_err();
    server.create_database("order_desk").await.unwrap();
    let mut connection = server.connect("order_desk").await.unwrap();
    let (name, database): (String, String) =
        sqlx::query_as("SELECT current_setting('application_name'), current_database()")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!(
        (name, database),
        ("testkit".to_owned(), server.name("order_desk"))
    );
    drop(connection);
    server.stop().await.unwrap();
}
